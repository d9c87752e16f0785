// biome-ignore-all format: a table, a row a line or a few
// Guards of the host against what a guest puts out and what a file holds: bounded outputs, sizes, bombs, control characters.
const ring = 'src/machine/output-ring.spec.ts';
const file = 'src/cli/output-file.spec.ts';
const print = 'src/cli/printable.spec.ts';
const cases = 'test/cases.spec.ts';
const pvConsole = 'src/hypervisor/events/pv-console.spec.ts';

export default [
  {
    guard: 'a thread that finds its output ring full waits', file: 'src/machine/output-ring.ts', spec: ring, test: 'waits where there is no room',
    find: 'while (ring.used + need > ring.capacity) {', replace: 'while (false) {',
  },
  {
    guard: 'output is taken no faster than it is written', file: 'src/machine/output-ring.ts', spec: ring,
    test: 'waits for a consumer that takes no more',
    find: 'if (full !== undefined) await full;', replace: '',
  },
  {
    guard: 'a file stops at its size', file: 'src/cli/output-file.ts', spec: file, test: 'stops at its size',
    find: 'this.isFull = true;', replace: '',
  },
  {
    guard: 'a ring of two files keeps to its size', file: 'src/cli/output-file.ts', spec: file, test: 'is a ring of two halves',
    find: "(whenFull === 'ring' ? limit / 2 : limit)", replace: 'limit',
  },
  {
    guard: 'a compressed file unpacks to a bounded size', file: 'src/cli/intake.ts', spec: cases, test: 'a compressed trace bomb.gz',
    find: 'if (total > limit) done(tooLarge(name, limit));\n        else done(null, chunk);', replace: 'done(null, chunk);',
  },
  {
    guard: 'a device is not read', file: 'src/cli/intake.ts', spec: cases, test: 'a device is called what it is',
    find: 'if (!stat.isFile())\n', replace: 'if (false)\n',
  },
  {
    guard: 'control characters of a line are written out', file: 'src/cli/printable.ts', spec: print, test: 'has control characters written out',
    find: 'text.replaceAll(CONTROLS, written).replaceAll(/[\\t\\n]/g, written)', replace: 'text.replaceAll(/[\\t\\n]/g, written)',
  },
  {
    guard: 'control characters of a text are written out', file: 'src/cli/printable.ts', spec: print, test: 'has control characters written out',
    find: "text.replaceAll(/\\r*\\n\\r*/g, '\\n').replaceAll(CONTROLS, written)", replace: "text.replaceAll(/\\r*\\n\\r*/g, '\\n')",
  },
  {
    guard: 'a character cut between two pieces is not sent by halves', file: 'src/cli/printable.ts', spec: print, test: 'comes in pieces',
    find: '{ stream: true }', replace: '{}',
  },
  {
    guard: "indices of a guest's console are checked", file: 'src/hypervisor/events/pv-console.ts', spec: pvConsole,
    test: 'more than the ring holds',
    find: 'size === 0 || size > OUT_SIZE', replace: 'size === 0',
  },
  {
    guard: "no other port is a guest's console", file: 'src/hypervisor/events/pv-console.ts', spec: pvConsole,
    test: 'is gone with its port or its page',
    find: 'if (port === 0 || port !== domain.paramLo(HvmParam.consoleEvtchn)) return;', replace: '',
  },
  {
    guard: 'an archive unpacks to no byte past its limit', file: 'src/machine/archive.ts', spec: 'src/machine/archive.spec.ts',
    test: 'takes no byte past its limit', find: 'if (total > limit) throw new ErrnoError(NO_SPACE);', replace: '',
  },
];
