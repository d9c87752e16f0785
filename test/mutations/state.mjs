// biome-ignore-all format: a table, a row a line or a few
// Fields of a machine's state that are left out, and guards of its files; the tests are test/state and test/debug.
const fields = 'test/state/fields.spec.ts';
const cut = 'test/state/snapshot.spec.ts';
const loop = 'src/hypervisor/sched/schedule.ts';
const port = 'src/device-model/nic-port.ts';
const cache = 'src/device-model/map-cache.ts';
const engine = 'src/cpu/run/engine.ts';
const hvm = 'src/hypervisor/vmx/hvm.ts';
const file = 'src/machine/state/snapshot-file.ts';
const image = 'src/machine/state/image.ts';

/** `kept`: text behind the line that only tells it from others like it. */
const left = (path, line, test, kept = '') =>
  ({ guard: `restored: ${line.trim()}`, file: path, spec: fields, test, find: line + kept, replace: kept });

export default [
  left('src/hypervisor/time/clock.ts', '      this.extraNs = extraNs;', 'clock'),
  left(loop, '    this.remaining = remaining;\n', 'run loop', '  }'),
  left(loop, '    this.idleUntilNs = idleUntilNs;\n', 'run loop', '    this.rounds'),
  left(loop, '    this.entered = entered;', 'run loop'),
  left(loop, '    this.servedKicks = servedKicks;\n', 'run loop'),
  left('src/hypervisor/sched/runstate.ts', '    this.running = running;', 'run queue'),
  left(hvm, '    vmx.exits = state.exits;', 'vCPU'),
  left(hvm, '    interrupts.windowOpen = state.windowOpen;', 'vCPU'),
  left(hvm, "    state.mmioGfns.forEach((page, i) => vmx.mmioLinear.set(page as Gfn, state.mmioLinear[i] ?? 0n));", 'vCPU'),
  left(engine, '    events.nmiBlocked = state.nmiBlocked;', 'vCPU'),
  left(engine, '    core.restoreCompleted(state.completed);', 'vCPU'),
  left(engine, '    this.requestInterruptWindow(state.windowWanted);', 'vCPU'),
  left(engine, '    this.heldHits = state.heldHits;', 'vCPU'),
  left(engine, '    this.retired = state.retired;', 'vCPU'),
  left(port, '    this.pausedNs = pausedNs;', 'cable'),
  left(port, '    this.offerNs = offerNs;', 'cable'),
  left(port, '    this.remindNs = remindNs;', 'cable'),
  left(port, '    this.expired = expired;\n', 'cable', '    this.offerNs'),
  left('src/device-model/timers.ts', '      timer.atNs = deadlinesNs[i] ?? Number.POSITIVE_INFINITY;', 'timers'),
  left('src/device-model/ioreq-server.ts', '    this.slot = slot % BUFIOREQ_SLOT_NUM;', 'ioreq server'),
  left('src/device-model/ioreq-server.ts', '    Object.assign(this.counters, { synchronous, buffered });', 'ioreq server'),
  left(cache, '    this.places = state.placeCount;', 'map cache'),
  left(cache, '    Object.assign(this.counters, state.counters);', 'map cache'),
  left('src/net/dom0-endpoint.ts', '    this.ipId = state.ipId;', 'endpoint'),
  left('src/net/hub.ts', '      Object.assign(port.counters, saved.counters);', 'wire'),
  left('src/devices/nic/rtl8139/core.ts', '    Object.assign(this.state, plain);', 'pci 24'),
  left('src/devices/nic/rtl8139/core.ts', '    copyState(this.state.tally, tally, this.name);', 'pci 24'),
  {
    guard: 'the vCPU stops at the very instruction', file: engine, spec: cut, test: 'stops at the very instruction',
    find: 'if (this.exactBudget && this.left <= EXACT_TAIL) this.runOne();', replace: 'if (false) this.runOne();',
  },
  {
    guard: 'a cut run of the vCPU goes on where it was', file: loop, spec: cut, test: 'in the middle of the guest',
    find: 'if (this.remaining > 0) {', replace: 'if (false) {',
  },
  {
    guard: 'the checksum of a file is compared', file, spec: cut, test: 'is refused in one line',
    find: "if ((await checksum(file)) !== view.getBigUint64(16, true)) throw damaged('its checksum does not fit');", replace: '',
  },
  {
    guard: 'a state is of the same machine memory', file: image, spec: cut, test: 'restores into nothing but its like',
    find: 'if (memorySize !== memory.layout.size)', replace: 'if (false)',
  },
];
