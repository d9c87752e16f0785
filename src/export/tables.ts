/** The tables that a trace is exported as: one list of columns for every form (CSV, JSON lines, Parquet, SQL, the schema page). */

/** What a column holds: whole numbers, real numbers, text, truth, and a moment in microseconds since 1970. */
export type ColumnType = 'int' | 'uint64' | 'real' | 'text' | 'bool' | 'moment';

/** A value of a row. `bigint` for what may pass 2^53; null where nothing is known. */
export type Cell = number | bigint | string | boolean | null;

export interface Column {
  readonly name: string;
  readonly type: ColumnType;
  readonly doc: string;
}

const columns = (...list: [name: string, type: ColumnType, doc: string][]): Column[] =>
  list.map(([name, type, doc]) => ({ name, type, doc }));

/** Every table begins with these: what a dataset is partitioned by. */
const PLACE = columns(
  ['host', 'text', 'name of the traced host'],
  ['day', 'text', 'day on which the trace begins, in UTC: 2026-11-30'],
  ['file', 'text', 'name of the trace file'],
);
const TIME = columns(
  ['at', 'moment', 'wall-clock time, in UTC; as good as `start_by` of the table `hosts` says'],
  ['time_ns', 'int', 'nanoseconds since the first TSC of the trace'],
);
const DURATION = columns(['duration_ns', 'int', 'how long it lasted, in nanoseconds']);
const PCPU = columns(['pcpu', 'int', 'physical CPU; −1 where it is not known']);
const VCPU = columns(
  ['domid', 'int', 'domain; 32767 is idle, 32768 the time before it is known who runs'],
  ['vcpu', 'int', 'vCPU of the domain'],
);

export const TABLES = {
  hosts: [
    ...PLACE,
    ...columns(
      ['start', 'moment', 'wall-clock time of the first TSC, in UTC'],
      [
        'start_by',
        'text',
        'how `start` is known: told, device-model log, file time (the file was last written when tracing ended)',
      ],
      ['duration_ns', 'int', 'from the first TSC to the last'],
      ['records', 'int', 'records in the file'],
      ['cpu_hz', 'int', 'TSC rate that times were made with'],
      [
        'cpu_hz_by',
        'text',
        'how that rate is known: told, log header, pairs (of accesses and requests), console, assumed (2.4 GHz)',
      ],
      ['first_tsc', 'uint64', 'TSC that is time 0'],
      ['vendor', 'text', 'vmx or svm'],
      ['xen_from', 'text', 'oldest Xen release that the records fit'],
      ['xen_to', 'text', 'newest Xen release that the records fit'],
      ['pcpus', 'int', 'physical CPUs with records'],
      ['damaged', 'int', 'places of the file that could not be read'],
    ),
  ],
  exits: [
    ...PLACE,
    ...TIME,
    ...DURATION,
    ...PCPU,
    ...VCPU,
    ...columns(
      ['reason', 'int', 'exit reason, as VMX or SVM number it'],
      ['reason_name', 'text', 'its name; the number where it has none'],
      ['rip', 'uint64', 'where the guest was'],
    ),
  ],
  io: [
    ...PLACE,
    ...TIME,
    ...columns(['duration_ns', 'int', 'VM exit to VM entry; null where one of them is missing']),
    ...PCPU,
    ...VCPU,
    ...columns(
      ['space', 'text', 'mmio or pio'],
      ['direction', 'text', 'read or write'],
      ['address', 'uint64', 'guest-physical address or port'],
      ['device', 'text', 'chip at that address; null where it is not known'],
      ['register', 'text', 'register, or registers, that the access touched; null where they are not known'],
      ['data', 'uint64', 'value written or read; null where the record has none'],
      ['width', 'int', 'bytes of the access; known only from a device-model log'],
      ['route', 'text', 'synchronous ioreq, buffered ioreq, in the hypervisor; null where it is not known'],
      ['route_strength', 'text', 'how sure the route is: proven, strong, inferred, unknown'],
      ['emulate_ns', 'int', 'VM exit until the device model is notified'],
      ['schedule_ns', 'int', 'notification until the device model runs: its wake-up latency'],
      ['work_ns', 'int', 'device model runs until it answers'],
      ['wake_ns', 'int', 'answer until the vCPU runs again'],
      ['enter_ns', 'int', 'vCPU runs until VM entry'],
      ['model_domid', 'int', 'domain of the device model that answered'],
      ['model_vcpu', 'int', 'vCPU of that domain'],
      ['hypercalls', 'int', 'hypercalls of other domains while the vCPU waited'],
      ['frame', 'int', 'number, in the capture, of the first frame that the access sent'],
      ['complete', 'bool', 'the access has its VM entry, and no records were lost inside it'],
    ),
  ],
  runstates: [
    ...PLACE,
    ...TIME,
    ...DURATION,
    ...PCPU,
    ...VCPU,
    ...columns(
      ['state', 'text', 'running, runnable, blocked, offline; lost where records are missing'],
      ['cause', 'text', 'why it was runnable: wake, preempt, other; null for another state'],
      ['next_state', 'text', 'the state after it'],
    ),
  ],
  hypercalls: [
    ...PLACE,
    ...TIME,
    ...columns(['duration_ns', 'int', 'exit to entry of an HVM vCPU; null for PV, whose return is not traced']),
    ...PCPU,
    ...VCPU,
    ...columns(
      ['number', 'int', 'hypercall'],
      ['name', 'text', 'its name; null where it has none'],
      ['command', 'text', 'sub-operation of grant_table_op, vcpu_op and sched_op; null where the record has none'],
      ['count', 'int', 'operations in it: of grant_table_op, mmu_update, mmuext_op; calls of a multicall; else null'],
    ),
  ],
  injections: [
    ...PLACE,
    ...TIME,
    ...PCPU,
    ...VCPU,
    ...columns(
      ['vector', 'int', 'virtual interrupt that goes into the guest with the next VM entry'],
      ['fake', 'bool', 'SVM: the interrupt is announced before its vector is known'],
      ['since_wake_ns', 'int', 'since the vCPU was woken for it; null where the vCPU was not asleep'],
    ),
  ],
  lost: [...PLACE, ...TIME, ...DURATION, ...PCPU, ...columns(['records', 'int', 'records that found no room'])],
} as const satisfies Record<string, readonly Column[]>;

export type TableName = keyof typeof TABLES;
export const TABLE_NAMES = Object.keys(TABLES) as TableName[];

/** What a row of each table is about. */
export const TABLE_DOCS: Readonly<Record<TableName, string>> = {
  hosts: 'one row a trace file: the sources of the other tables',
  exits: 'one row a VM exit of an HVM vCPU that came to its end, as `trace summary` counts them',
  io: 'one row a port or memory access of a guest, with its way and its stages, as `trace io` shows it',
  runstates: 'one row an interval that a vCPU spent in one runstate, as `trace summary` counts them',
  hypercalls: 'one row a hypercall',
  injections: 'one row a virtual interrupt given to a guest',
  lost: 'one row an interval in which a pCPU lost records',
};

/** Takes rows. `cells` are in the order of the table's columns; the array is the caller's and is used again. */
export interface RowSink {
  row(table: TableName, cells: readonly Cell[]): void;
  /** Called now and then between rows: time for what is not done at once. */
  drain?(): Promise<void>;
}
