// biome-ignore-all format: a table, a row a line or a few
// Guards of the hypervisor and the vCPU against a guest's memory, tables, timers and hypercalls; the tests are test/hostile.
const cpu = 'test/hostile/cpu.spec.ts';
const nic = 'test/hostile/nic.spec.ts';
const ioreq = 'test/hostile/ioreq.spec.ts';
const hypercalls = 'test/hostile/hypercalls.spec.ts';
const hypercallSpec = 'src/hypervisor/hypercall/hypercall.spec.ts';

export default [
  {
    guard: 'an exception while a double fault is delivered ends the domain', file: 'src/hypervisor/io/emulate.ts', spec: cpu,
    test: 'page tables the IDT behind a page table',
    find: 'if (first === TRAP_df) return this.parts.tripleFault();', replace: '',
  },
  {
    guard: 'exceptions on the way to a handler combine', file: 'src/hypervisor/io/emulate.ts', spec: cpu,
    test: 'page tables the IDT behind a page table',
    find: 'const double = first === TRAP_pf || (isContributory(first) && vector !== TRAP_pf);', replace: 'const double = false;',
  },
  {
    guard: 'an event whose delivery was cut short begins anew with its accesses', file: 'src/cpu/run/engine.ts', spec: cpu,
    test: 'page tables the IDT in device memory',
    find: '        core.restartCompleted();\n        if (this.events.deliver(', replace: '        if (this.events.deliver(',
  },
  {
    guard: 'the shadow of STI ends with the next instruction', file: 'src/cpu/run/engine.ts', spec: cpu,
    test: 'timers at their limits an interrupt storm',
    find: '    core.clearShadow();\n    this.stepping = true;', replace: '    this.stepping = true;',
  },
  {
    guard: 'a periodic local APIC timer keeps to 100 µs', file: 'src/hypervisor/chips/vlapic.ts', spec: cpu,
    test: 'timers at their limits local APIC with count 1',
    find: '? Math.max(period, MIN_TIMER_PERIOD_NS) : period', replace: '? period : period',
  },
  {
    guard: 'a periodic PIT keeps to 100 µs', file: 'src/hypervisor/chips/vpit.ts', spec: cpu,
    test: 'timers at their limits PIT with count 1',
    find: 'repeats ? Math.max(this.get(0, COUNT) * NS_PER_TICK, MIN_TIMER_PERIOD_NS) :',
    replace: 'repeats ? this.get(0, COUNT) * NS_PER_TICK :',
  },
  {
    guard: 'a device model that never answers ends the domain', file: 'src/hypervisor/sched/schedule.ts', spec: ioreq,
    test: 'a device model that never answers',
    find: '      this.checkAnswerLimit();\n      if (clock instanceof VirtualClock)',
    replace: '      if (clock instanceof VirtualClock)',
  },
  {
    guard: 'a crash that somebody else reports has its dump', file: 'src/hypervisor/sched/schedule.ts', spec: hypercalls,
    test: 'sched_op shutdown for reason 3',
    find: '&& !hvm.dumped) hvm.dump(', replace: '&& false) hvm.dump(',
  },
  {
    guard: 'only writable RAM is mapped for DMA', file: 'src/hypervisor/mm/p2m.ts', spec: nic,
    test: 'RTL8139 rings, descriptors and buffers in read-only memory',
    find: 'const mappable = type === P2mType.ramRw || type === P2mType.ramLogdirty;',
    replace: 'const mappable = type === P2mType.ramRw || type === P2mType.ramRo;',
  },
  {
    guard: "another domain's frame is not mapped for DMA", file: 'src/hypervisor/mm/page-alloc.ts', spec: nic,
    test: 'RTL8139 rings, descriptors and buffers in a grant of another',
    find: 'if (u32[word + 1] !== owner) return false;', replace: '',
  },
  {
    guard: 'memory given back is forgotten by the device model', file: 'src/hypervisor/hypercall/memory-op.ts', spec: nic,
    test: 'RTL8139 rings, descriptors and buffers in a hole',
    find: 'if (gaveBack) host.mapcacheInvalidate();', replace: '',
  },
  {
    guard: 'both pages of a string element are looked at before the port is touched', file: 'src/hypervisor/io/emulate.ts',
    spec: 'test/io-forms.spec.ts',
      test: 'memory-mapped I/O by the vCPU a page fault on the RAM side in the middle of a rep, ins of an element',
    find: 'part < (first < exit.size ? 2 : 1); part++', replace: 'part < 1; part++',
  },
  {
    guard: 'hypercall numbers have 32 bits', file: 'src/hypervisor/hypercall/hypercall.ts', spec: hypercalls,
    test: 'hypercalls with wild arguments numbers there are not',
    find: 'longMode && registers.gprHi(Reg.rax) !== 0\n', replace: 'false\n',
  },
  {
    guard: 'a long memory_op lets others run', file: 'src/hypervisor/hypercall/memory-op.ts', spec: hypercallSpec,
    test: 'hypercalls go on where they were',
    find: 'if ((done - start) << order >= MOST_FRAMES) {', replace: 'if (false) {',
  },
  {
    guard: 'a long console_io lets others run', file: 'src/hypervisor/hypercall/hypercall.ts', spec: hypercallSpec,
    test: 'hypercalls go on where they were',
    find: 'if (done === CONSOLE_MOST) {', replace: 'if (false) {',
  },
  {
    guard: 'a long multicall lets others run', file: 'src/hypervisor/hypercall/hypercall.ts', spec: hypercallSpec,
    test: 'hypercalls go on where they were',
    find: 'if (i === MULTICALL_MOST) return this.goOn(at, count - i);', replace: '',
  },
  {
    guard: "a written TSC moves what the guest reads", file: 'src/hypervisor/vmx/msr.ts', spec: 'test/tsc.spec.ts',
    test: 'IA32_TSC sets',
    find: 'state.tscOffset += delta;', replace: '',
  },
];
