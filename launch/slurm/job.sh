# What follows is the same for every job. It is run by the job's first node; Slurm starts
# it again from the top when the job is requeued, and training continues from its newest
# checkpoint.

newest() { (cd "$log_dir" && ls model.ckpt-*.index) 2>/dev/null | sort -V | tail -n 1; }
before=$(newest)
metrics() { cksum "$log_dir/metrics.jsonl" 2>/dev/null; } # changes when training begins
log=/proc/$$/fd/1
written() { stat -Lc %s "$log"; } # bytes

# Before the time limit and on preemption, Slurm signals the tasks: they write a
# checkpoint and end with status 143. With mpirun, --signal has it signal this script
# alone, for mpirun's own processes would end of the signal before the ranks.
stopped=
trap 'stopped=1; kill -TERM $training 2>/dev/null' USR1
for attempt in 1 2 3; do
  unchanged=$(metrics) silent=$(written)
  "${command[@]}" &
  training=$!
  while kill -0 $training 2>/dev/null; do wait $training; done
  wait $training
  status=$?
  [[ $(metrics) == "$unchanged" ]] || break
  # Slurm may fail to start the ranks: on a node that has just come back, or where a step
  # daemon was killed, whose files break a step of the same job and number. The next has
  # another. srun then reports a signal, or its errors and a 0, and mpirun a 1, without a
  # word. Not if it was signalled: status 130, 143 or, see below, 205.
  case $status in
    130 | 143 | 205) break ;;
    0) [[ $(tail -c +$((silent + 1)) "$log") == *"srun: error"* ]] || break; status=1 ;;
    1) [[ $(written) == "$silent" ]] || break ;;
    *) ((status > 128)) || break ;;
  esac
  ((attempt < 3)) || break
  echo "job.sh: status $status before training began: started again" >&2
  sleep 5
  [[ -z $stopped ]] || { status=143 && break; }
done

# 205: on preemption, mpirun has lost its process on another node while the ranks saved.
# scancel ends this script, too, which then does not come so far.
((status == 143 || status == 205)) || exit $status
# Signalled while it started: perhaps always, if the time limit is too short.
if [[ $(newest) == "$before" ]] && ((${SLURM_RESTART_COUNT:-0} >= 10)); then
  echo "job.sh: not queued again, as it took no step; give a longer --time" >&2
  exit $status
fi
if scontrol requeue "$job"; then
  echo "job.sh: queued again, to continue from the checkpoint" >&2
  sleep 60 # until Slurm ends this
fi
exit $status
