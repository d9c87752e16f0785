// The rooms of src/ and who may import whom. `scripts/check-rooms.mjs` enforces this table, and docs/architecture.md shows it.
//
// `files` of a room with inner rooms: what lies in its own folder, its face to the outside. `inner` is in order: an inner
// room may import the ones named, and the face where it is named as '.'.

export const rooms = {
  base: { holds: 'branded addresses, declarations of registers and log lines, errors, logger and clock interfaces', imports: [] },
  abi: {
    holds:
      'layouts that cross a boundary: ioreq pages, event channels, HVM parameters, start info, dm_op, lines of the device-model log',
    imports: ['base'],
  },
  trace: {
    holds: 'the xentrace format: writer and readers',
    imports: ['base', 'abi'],
    inner: {
      '.': {
        holds: 'the library; event numbers and writer',
        imports: ['format', 'records', 'follow', 'xenalyze', 'summary', 'threads'],
      },
      format: { holds: 'files, windows, and the merge of the CPUs', imports: ['.'] },
      records: { holds: 'the decoder and all names; what wrote a trace', imports: ['.'] },
      follow: {
        holds: 'records in time order, who runs where; what a host does, as transitions',
        imports: ['.', 'format', 'records'],
      },
      xenalyze: {
        holds: "xenalyze's rules, to the letter: dump, and what a summary counts",
        imports: ['.', 'format', 'records', 'follow'],
      },
      summary: { holds: 'figures of what was counted, as data and as text', imports: ['format', 'records', 'xenalyze'] },
      threads: { holds: 'two threads on one file', imports: ['format', 'xenalyze', 'summary'] },
    },
  },
  cpu: {
    holds: 'the vCPU as hardware ([vcpu.md](vcpu.md)); `interface.ts` is its face',
    imports: ['base'],
    inner: {
      '.': { holds: 'the interface that a hypervisor drives', imports: [] },
      wasm: { holds: 'WebAssembly: encoder, expressions, modules', imports: [] },
      softfloat: { holds: 'floating-point arithmetic by integers', imports: [] },
      memory: { holds: 'the control block, TLB and page walks', imports: ['.'] },
      records: { holds: 'the decoded instruction: its record and handler numbers', imports: [] },
      fpu: { holds: 'x87 and SSE state and operations', imports: ['.', 'softfloat', 'memory', 'records'] },
      emit: { holds: 'the meaning of every instruction, as emitted WebAssembly', imports: ['.', 'wasm', 'memory', 'fpu'] },
      tables: { holds: 'every instruction as a row: opcode, operands, emitter', imports: ['wasm', 'memory', 'fpu', 'emit'] },
      decode: { holds: 'bytes to records; the cache of decoded blocks', imports: ['.', 'memory', 'records', 'emit', 'tables'] },
      interpreter: {
        holds: 'the generated function that runs records',
        imports: ['wasm', 'memory', 'records', 'emit', 'tables', 'decode'],
      },
      compiled: {
        holds: 'warm code as functions of its own: regions',
        imports: ['.', 'wasm', 'memory', 'records', 'emit', 'decode', 'interpreter'],
      },
      system: {
        holds: 'faults, interrupts, segments, control registers, MSRs',
        imports: ['.', 'memory', 'records', 'emit', 'decode'],
      },
      run: {
        holds: 'the engine: fetches, runs, leaves',
        imports: ['.', 'wasm', 'memory', 'records', 'fpu', 'emit', 'decode', 'interpreter', 'compiled', 'system'],
      },
    },
  },
  hypervisor: {
    holds: "Xen's role ([platform.md](platform.md))",
    imports: ['base', 'abi', 'cpu', 'trace'],
    inner: {
      mm: { holds: 'machine memory, frame table, p2m, guest access, locks, shootdown', imports: [] },
      trace: { holds: 'trace buffers', imports: ['mm'] },
      time: { holds: 'clock and timers', imports: ['mm'] },
      domain: { holds: 'domains, vCPU state, HVM parameters, paravirtual time', imports: ['mm', 'trace', 'time'] },
      events: { holds: 'event channels', imports: ['mm', 'domain'] },
      io: { holds: 'MMIO and port emulation, internal handlers, ioreq servers', imports: ['mm', 'time', 'domain', 'events'] },
      chips: { holds: 'local APIC, IO-APIC, PICs, PIT, HPET, RTC, PM timer, interrupt lines', imports: ['mm', 'time', 'io'] },
      hypercall: { holds: 'hypercalls, dm_op included', imports: ['mm', 'time', 'domain', 'events', 'io', 'chips'] },
      vmx: {
        holds: 'VM exits and entries, interrupt injection, MSRs, CPUID',
        imports: ['mm', 'time', 'domain', 'events', 'io', 'chips', 'hypercall'],
      },
      sched: {
        holds: 'run loop, runqueue, the wait for an ioreq, upcalls',
        imports: ['time', 'domain', 'events', 'io', 'chips', 'vmx'],
      },
      'domain-builder': {
        holds: 'guest memory, kernel images, ACPI tables, firmware ports',
        imports: ['mm', 'domain', 'io', 'chips'],
      },
      setup: {
        holds: "one thread's hypervisor; dom0",
        imports: ['mm', 'trace', 'time', 'domain', 'events', 'io', 'chips', 'hypercall', 'sched'],
      },
    },
  },
  devices: { holds: 'chips and buses with no idea of Xen', imports: ['base'] },
  net: { holds: 'frames, hub, dom0 endpoint, pcapng, stream socket', imports: ['base'] },
  'device-model': { holds: "qemu-dm's role ([device-model.md](device-model.md))", imports: ['base', 'abi', 'devices', 'net'] },
  analyze: {
    holds: 'joins of trace, log and capture: paths of I/O, stories ([trace.md](trace.md))',
    imports: ['base', 'abi', 'trace', 'devices'],
    inner: {
      sources: { holds: 'readers of logs, captures and traces; evidence', imports: [] },
      join: { holds: 'accesses, requests and frames brought together', imports: ['sources'] },
      tell: { holds: 'stories, and what they print', imports: ['sources', 'join'] },
      '.': { holds: 'the library', imports: ['sources', 'join', 'tell'] },
    },
  },
  export: {
    holds: 'a trace in the forms of other tools: tables, Perfetto, OpenTelemetry, pcapng, xentrace; questions in SQL; a report',
    imports: ['base', 'trace', 'net', 'analyze'],
  },
  machine: {
    holds: 'puts a machine together',
    imports: ['base', 'abi', 'trace', 'cpu', 'hypervisor', 'devices', 'net', 'device-model', 'analyze'],
  },
  debug: {
    holds: 'going to and fro in a run: kept states, searches, what can be read at a stop, gdb',
    imports: ['base', 'abi', 'trace', 'cpu', 'hypervisor', 'devices', 'net', 'device-model', 'machine'],
  },
  library: {
    holds: 'what others embed: a machine as one object, and what its records tell ([library.md](library.md))',
    imports: ['base', 'trace', 'devices', 'net', 'device-model', 'analyze', 'export', 'machine', 'debug'],
  },
  web: { holds: 'the page ([page.md](page.md))', imports: ['library'] },
  cli: {
    holds: 'the commands',
    imports: ['base', 'abi', 'trace', 'devices', 'net', 'machine', 'analyze', 'export', 'debug'],
  },
};

/** Of these rooms only the files named may be imported by the other. */
export const only = [
  { from: 'hypervisor', to: 'trace', files: /^trace\/(writer|events)\b/, what: 'writer and events' },
  { from: 'web', to: 'library', files: /^library\/index\.ts$/, what: 'its public face, index.ts,' },
];

/** The room table of docs/architecture.md. */
export function roomTable() {
  const list = (names) => (names.length ? names.map((name) => (name === '.' ? 'the face' : name)).join(', ') : 'nothing');
  const rows = ['| room (`src/…`) | holds | may import |', '| --- | --- | --- |'];
  for (const [name, room] of Object.entries(rooms)) {
    rows.push(`| \`${name}\` | ${room.holds} | ${list(room.imports)} |`);
    for (const [inner, { holds, imports }] of Object.entries(room.inner ?? {})) {
      if (inner !== '.') rows.push(`| \`${name}/${inner}\` | ${holds} | ${list(imports)} |`);
    }
  }
  return rows.join('\n');
}
