import { secretFromEnv } from './value.ts';

/** The suite: everything short. Each test adds its own folders and key prefix through LONGSHORE_OVERRIDES. */
export const config = {
  app_id: 'longshore-test',
  stage: { alias_salt: secretFromEnv('ALIAS_SALT', 'test-salt'), reserve_bytes: 0 },
  registration: {
    recency_threshold_seconds: 0.2,
    wait_between_stability_checks_seconds: 0.2,
    poll_interval_seconds: 0.2,
  },
  queue: { lock_seconds: 2, stalled_check_seconds: 0.5 },
  workflow: { retry: { max: 3, delay_seconds: 0.2 }, reconcile_seconds: 1, resume_lock_seconds: 2 },
  fleet: { heartbeat_seconds: 0.3 },
  autoscale: {
    min: 2,
    max: 4,
    idle_seconds: 1,
    // The suite runs in parallel on small machines; what pressure does is tested with figures of its own.
    hold: { cpu_percent: null, io_percent: null, memory_stall_percent: null, memory_used_percent: null },
    shrink: { memory_stall_percent: null, memory_used_percent: null },
    hand_back: { memory_used_percent: null },
  },
  task: { kill_grace_seconds: 1, time_limit_seconds: 120 },
  reload: { watch: 'off' },
  schedules: [],
};
