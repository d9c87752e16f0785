/**
 * Questions that are asked of traces again and again, in SQL. `{p:0.99:x}` stands for the 0.99 quantile of x, which engines
 * spell differently; all else is understood by DuckDB and by ClickHouse alike.
 */
export interface Question {
  /** How the command line calls it. */
  readonly name: string;
  readonly asks: string;
  readonly sql: string;
}

export type Dialect = 'duckdb' | 'clickhouse';

const IDLE = 32767;

export const QUESTIONS: readonly Question[] = [
  {
    name: 'exits',
    asks: 'How many exits a second has each domain, by reason?',
    sql: `SELECT x.host, x.domid, x.reason_name, count(*) AS exits, count(*) / max(h.traced_ns) * 1e9 AS per_second
FROM exits x JOIN (SELECT host, sum(duration_ns) AS traced_ns FROM hosts GROUP BY host) h ON x.host = h.host
GROUP BY x.host, x.domid, x.reason_name ORDER BY exits DESC, x.host, x.domid, x.reason_name`,
  },
  {
    name: 'dearest-exits',
    asks: 'In which exits is the time spent?',
    sql: `SELECT domid, reason_name, count(*) AS exits, sum(duration_ns) AS total_ns, {p:0.5:duration_ns} AS p50_ns,
  {p:0.99:duration_ns} AS p99_ns
FROM exits GROUP BY domid, reason_name ORDER BY total_ns DESC, domid, reason_name`,
  },
  {
    name: 'dearest-registers',
    asks: 'Which registers cost a guest the most time?',
    sql: `SELECT domid, device, register, direction, count(*) AS accesses, sum(duration_ns) AS total_ns,
  {p:0.5:duration_ns} AS p50_ns, {p:0.99:duration_ns} AS p99_ns
FROM io WHERE duration_ns IS NOT NULL AND device IS NOT NULL
GROUP BY domid, device, register, direction ORDER BY total_ns DESC, domid, device, register, direction LIMIT 20`,
  },
  {
    name: 'model-wakeup',
    asks: 'How long does a device model take to wake up?',
    sql: `SELECT host, domid, count(schedule_ns) AS wakeups, {p:0.5:schedule_ns} AS p50_ns, {p:0.99:schedule_ns} AS p99_ns,
  max(schedule_ns) AS max_ns
FROM io WHERE schedule_ns IS NOT NULL GROUP BY host, domid ORDER BY p99_ns DESC, host, domid`,
  },
  {
    name: 'worst-hosts',
    asks: 'On which hosts do guests wait longest for their device model?',
    sql: `SELECT host, count(*) AS accesses, {p:0.99:duration_ns} AS p99_ns, sum(duration_ns) AS total_ns
FROM io WHERE route = 'synchronous ioreq' AND duration_ns IS NOT NULL
GROUP BY host ORDER BY p99_ns DESC, host LIMIT 20`,
  },
  {
    name: 'routes',
    asks: 'Which way do accesses go?',
    sql: `SELECT domid, route, route_strength, count(*) AS accesses FROM io
GROUP BY domid, route, route_strength ORDER BY accesses DESC, domid, route, route_strength`,
  },
  {
    name: 'stages',
    asks: 'Where does the time of a synchronous access go?',
    sql: `SELECT domid, count(*) AS accesses, {p:0.5:emulate_ns} AS emulate_p50_ns, {p:0.5:schedule_ns} AS schedule_p50_ns,
  {p:0.5:work_ns} AS work_p50_ns, {p:0.5:wake_ns} AS wake_p50_ns, {p:0.5:enter_ns} AS enter_p50_ns
FROM io WHERE route = 'synchronous ioreq' AND complete
AND emulate_ns IS NOT NULL AND schedule_ns IS NOT NULL AND work_ns IS NOT NULL AND wake_ns IS NOT NULL AND enter_ns IS NOT NULL
GROUP BY domid ORDER BY domid`,
  },
  {
    name: 'slowest-accesses',
    asks: 'Which single accesses took longest?',
    sql: `SELECT host, file, time_ns, domid, vcpu, device, register, direction, duration_ns, work_ns
FROM io WHERE duration_ns IS NOT NULL ORDER BY duration_ns DESC, host, file, time_ns LIMIT 10`,
  },
  {
    name: 'runnable',
    asks: 'How much time is lost to "runnable", by pCPU?',
    sql: `SELECT host, pcpu, count(*) AS waits, sum(duration_ns) AS runnable_ns, max(duration_ns) AS longest_ns
FROM runstates WHERE state = 'runnable' AND domid < ${IDLE} GROUP BY host, pcpu ORDER BY runnable_ns DESC, host, pcpu`,
  },
  {
    name: 'runstates',
    asks: 'How does each vCPU spend its time?',
    sql: `SELECT host, domid, vcpu, state, count(*) AS times, sum(duration_ns) AS total_ns
FROM runstates WHERE domid < ${IDLE} GROUP BY host, domid, vcpu, state ORDER BY host, domid, vcpu, total_ns DESC, state`,
  },
  {
    name: 'preempted',
    asks: 'Which vCPUs are preempted, and how long do they wait then?',
    sql: `SELECT host, domid, vcpu, count(*) AS preemptions, sum(duration_ns) AS waited_ns, {p:0.99:duration_ns} AS p99_ns
FROM runstates WHERE state = 'runnable' AND cause = 'preempt' AND domid < ${IDLE}
GROUP BY host, domid, vcpu ORDER BY waited_ns DESC, host, domid, vcpu`,
  },
  {
    name: 'wakeups',
    asks: 'How long does a woken vCPU wait for a pCPU?',
    sql: `SELECT host, domid, count(*) AS wakeups, {p:0.5:duration_ns} AS p50_ns, {p:0.99:duration_ns} AS p99_ns
FROM runstates WHERE state = 'runnable' AND cause = 'wake' AND domid < ${IDLE}
GROUP BY host, domid ORDER BY p99_ns DESC, host, domid`,
  },
  {
    name: 'busy-pcpus',
    asks: 'How busy is each pCPU?',
    sql: `SELECT r.host, r.pcpu, sum(CASE WHEN r.domid < ${IDLE} THEN r.duration_ns ELSE 0 END) AS busy_ns,
  sum(CASE WHEN r.domid < ${IDLE} THEN r.duration_ns ELSE 0 END) / max(h.traced_ns) AS share
FROM runstates r JOIN (SELECT host,
  sum(duration_ns) AS traced_ns FROM hosts GROUP BY host) h ON r.host = h.host WHERE r.state = 'running' AND r.pcpu >= 0
GROUP BY r.host, r.pcpu ORDER BY busy_ns DESC, r.host, r.pcpu`,
  },
  {
    name: 'hypercalls',
    asks: 'Which hypercalls does each domain make?',
    sql: `SELECT host, domid, name, command, count(*) AS calls, sum(count) AS operations FROM hypercalls
GROUP BY host, domid, name, command ORDER BY calls DESC, host, domid, name, command`,
  },
  {
    name: 'grants',
    asks: 'Who maps, unmaps and copies grants, and how many at a time?',
    sql: `SELECT host, domid, command, count(*) AS calls, sum(count) AS grants, max(count) AS most
FROM hypercalls WHERE name = 'grant_table_op' GROUP BY host, domid, command ORDER BY grants DESC, host, domid, command`,
  },
  {
    name: 'frame-cost',
    asks: 'What does each frame that a guest sends cost: time, hypercalls, grants?',
    sql: `SELECT i.host, i.file, i.frame, max(i.duration_ns) AS lasted_ns, count(h.number) AS hypercalls,
  sum(CASE WHEN h.name = 'grant_table_op' THEN h.count ELSE 0 END) AS grants
FROM io i JOIN hypercalls h ON i.host = h.host AND i.file = h.file AND i.model_domid = h.domid
WHERE i.frame IS NOT NULL AND i.duration_ns IS NOT NULL AND h.time_ns >= i.time_ns AND h.time_ns <= i.time_ns + i.duration_ns
GROUP BY i.host, i.file, i.frame ORDER BY i.host, i.file, i.frame`,
  },
  {
    name: 'late-interrupts',
    asks: "Which domain's interrupts are late: how long from wake-up to injection?",
    sql: `SELECT host, domid, count(*) AS wakeups, {p:0.5:since_wake_ns} AS p50_ns, {p:0.99:since_wake_ns} AS p99_ns,
  max(since_wake_ns) AS max_ns
FROM injections WHERE since_wake_ns IS NOT NULL GROUP BY host, domid ORDER BY p99_ns DESC, host, domid`,
  },
  {
    name: 'vectors',
    asks: 'Which interrupts does each domain get?',
    sql: `SELECT host, domid, vector, count(*) AS injections FROM injections
GROUP BY host, domid, vector ORDER BY injections DESC, host, domid, vector`,
  },
  {
    name: 'busiest-seconds',
    asks: 'In which seconds are there most exits?',
    sql: `SELECT host, file, floor(time_ns / 1e9) AS second, count(*) AS exits, sum(duration_ns) AS exit_ns
FROM exits GROUP BY host, file, floor(time_ns / 1e9) ORDER BY exits DESC, host, file, second LIMIT 10`,
  },
  {
    name: 'lost',
    asks: 'Where are records missing, and for how long?',
    sql: `SELECT host, pcpu, count(*) AS losses, sum(records) AS records_lost, sum(duration_ns) AS blind_ns
FROM lost GROUP BY host, pcpu ORDER BY blind_ns DESC, host, pcpu`,
  },
];

/** A question's SQL, as one engine spells it. Quantiles are interpolated, and cut to whole numbers. */
export function inDialect(sql: string, dialect: Dialect): string {
  return sql.replace(/\{p:([\d.]+):(\w+)\}/g, (_, q: string, x: string) =>
    dialect === 'duckdb' ? `floor(quantile_cont(${x}, ${q}))` : `floor(quantileExactInclusive(${q})(${x}))`,
  );
}
