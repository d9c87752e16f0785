// biome-ignore-all format: a table, a row a line or a few
// Guards of the device model's shared pages, map cache and DMA; the tests are src/device-model/known-bugs.spec.ts.
const spec = 'src/device-model/known-bugs.spec.ts';
const server = 'src/device-model/ioreq-server.ts';
const dispatch = 'src/device-model/ioreq.ts';
const codec = 'src/abi/ioreq.ts';
const cache = 'src/device-model/map-cache.ts';
const twice = (field,
  index) => `Object.defineProperty(p, '${field}', { configurable: true, get: () => words[slot + ${index}]! >>> 0, set() {} });`;

export default [
  {
    guard: 'count of a request is read once', file: codec, spec, test: 'XSA-155 / CVE-2015-8550: a request rewritten',
    find: 'p.count = words[slot + IOREQ_COUNT / 4]! >>> 0;', replace: twice('count', 4),
  },
  {
    guard: 'size of a request is read once', file: codec, spec, test: 'XSA-155 / CVE-2015-8550: a request rewritten',
    find: 'p.size = words[slot + IOREQ_SIZE_FIELD / 4]! >>> 0;', replace: twice('size', 5),
  },
  {
    guard: 'data pointer of a request is read once', file: codec, spec, test: 'XSA-155 / CVE-2015-8550: a request rewritten',
    find: 'p.dataLo = words[slot + IOREQ_DATA / 4]! >>> 0;', replace: twice('dataLo', 2),
  },
  {
    guard: 'a buffered slot is copied before it is served', file: codec, spec, test: 'XSA-197 / CVE-2016-9381: a buffered request rewritten',
    find: 'p.dataHi = words[bufferedAt(page, pointer + 1) + 1]! >>> 0;',
    replace: "const second = bufferedAt(page, pointer + 1) + 1; Object.defineProperty(p, 'dataHi', { configurable: true, get: () => words[second]! >>> 0, set() {} });",
  },
  {
    guard: 'the write pointer is read once a turn', file: server, spec,
    test: 'XSA-197 / CVE-2016-9381: a write pointer that runs on',
    find: 'left -= used;',
    replace: 'left = ((Atomics.load(words, writeAt) >>> 0) - (Atomics.load(words, readAt) >>> 0) - used) >>> 0;',
  },
  {
    guard: 'ports end at 0xffff: reads', file: dispatch, spec, test: 'XSA-199',
    find: 'if (r.addr >= PORT_LIMIT) return widthMask(r.size);\n    return this.t.ports.read(r.addr, r.size);',
    replace: 'return this.t.ports.read(r.addr & 0xffff, r.size);',
  },
  {
    guard: 'ports end at 0xffff: writes', file: dispatch, spec, test: 'XSA-199',
    find: 'if (r.addr < PORT_LIMIT) this.t.ports.write(r.addr, r.size, value);',
    replace: 'this.t.ports.write(r.addr & 0xffff, r.size, value);',
  },
  {
    guard: 'the answer is given only if the slot is still in service', file: server, spec, test: 'XSA-262',
    find: 'if (Atomics.compareExchange(words, at, inProcess, ready) !== inProcess) {', replace: 'Atomics.store(words, at, ready); if (false) {',
  },
  {
    guard: 'only READY is served', file: server, spec, test: 'XSA-166',
    find: '!== IoreqState.ready) return;', replace: '=== IoreqState.none) return;',
  },
  {
    guard: 'the high half of an answer is cleared: ports', file: dispatch, spec, test: 'XSA-239',
    find: 'r.dataLo = this.in(r);\n        r.dataHi = 0;', replace: 'r.dataLo = this.in(r);',
  },
  {
    guard: 'the high half of an answer is cleared: configuration space', file: dispatch, spec, test: 'XSA-239',
    find: 'r.dataLo = value;\n        r.dataHi = 0;', replace: 'r.dataLo = value;',
  },
  {
    guard: 'sizes that no instruction makes are refused', file: dispatch, spec, test: 'XSA-121',
    find: 'if (r.size !== 1 && r.size !== 2 && r.size !== 4 && r.size !== widest) return `size ${r.size}`;', replace: '',
  },
  {
    guard: 'unknown request types are refused', file: dispatch, spec, test: 'XSA-121',
    find: 'default:\n        return `type ${r.type}`;', replace: 'default:\n        return undefined;',
  },
  {
    guard: 'a string access stays within a page', file: dispatch, spec, test: 'XSA-112',
    find: 'if (r.count * r.size > MAX_REP_BYTES) return `count ${r.count} of ${r.size} bytes, past a page`;',
    replace: 'if (r.count > 100000) r.count = 100000;',
  },
  {
    guard: 'the data side of a string access is RAM only', file: dispatch, spec, test: 'XSA-463',
    find: 'this.t.dma.read(this.itemAddress(r, i), this.item, 0, r.size);',
    replace: 'if (!this.t.dma.read(this.itemAddress(r, i), this.item, 0, r.size)) this.t.memory.read(this.itemAddress(r, i), r.size);',
  },
  {
    guard: 'no more buffered slots than the ring has', file: server, spec, test: 'Buffered ring: more slots than it has',
    find: 'if (left > BUFIOREQ_SLOT_NUM) {', replace: 'if (false) {',
  },
  {
    guard: 'both halves of an 8-byte buffered write are there', file: server, spec,
    test: 'Buffered ring: an 8-byte write with one slot',
    find: 'if (slots > left) {', replace: 'if (false) {',
  },
  {
    guard: 'the read pointer is where this side left it', file: server, spec, test: 'Buffered ring: a read pointer moved',
    find: 'if (read % BUFIOREQ_SLOT_NUM !== this.slot) {', replace: 'if (false) {',
  },
  {
    guard: 'buffered requests are writes of memory or time', file: server, spec, test: 'Buffered ring: reads and other types',
    find: 'if (r.dir === IOREQ_READ || (r.type !== IoreqType.copy && r.type !== IoreqType.timeOffset)) {', replace: 'if (false) {',
  },
  {
    guard: 'ring slots count modulo the ring', file: server, spec, test: 'Buffered ring: pointers that the hypervisor lowers',
    find: 'this.slot = (this.slot + slots) % BUFIOREQ_SLOT_NUM;', replace: 'this.slot = this.slot + slots;',
  },
  {
    guard: 'the buffered ring is drained before a synchronous request', file: server, spec,
    test: 'Buffered ring: what is in it is seen before',
    find: '    this.drain();\n    if (this.hasStopped) return;', replace: '',
  },
  {
    guard: 'the port to notify is not read from the page again', file: server, spec, test: 'vp_eport changed by the guest',
    find: 'this.o.hypercalls.evtchnSend(this.ports[vcpu]!);', replace: 'this.o.hypercalls.evtchnSend(words[slot + 6]!);',
  },
  {
    guard: 'a port is masked while it is served', file: 'src/device-model/event-channels.ts', spec,
    test: 'Event-channel storm: a turn serves each port once',
    find: 'Atomics.or(this.words, maskAt + word, bit);', replace: '',
  },
  {
    guard: 'a port nobody bound stays masked', file: 'src/device-model/event-channels.ts', spec,
    test: 'Event-channel storm: ports that nobody bound',
    find: 'if (handler?.(port)) this.unmask(port);', replace: 'if (handler?.(port) ?? true) this.unmask(port);',
  },
  {
    guard: 'INVALIDATE drops the mappings', file: cache, spec, test: 'Mapcache: a page given back by the guest',
    find: 'for (const mapping of this.buckets.values()) this.drop(mapping);', replace: '',
  },
  {
    guard: 'a locked mapping outlives INVALIDATE', file: cache, spec,
    test: 'Mapcache: INVALIDATE lets a locked DMA mapping finish',
    find: 'if (mapping.locks > 0) mapping.stale = true;\n    else this.unmap(mapping);', replace: 'this.unmap(mapping);',
  },
  {
    guard: 'the last unlock of a stale mapping unmaps it', file: cache, spec,
    test: 'Mapcache: INVALIDATE lets a locked DMA mapping finish',
    find: 'if (mapping.locks === 0 && mapping.stale) this.unmap(mapping);', replace: '',
  },
  {
    guard: 'a page that failed is asked for again', file: cache, spec, test: 'Unmapped gpa inside a cached bucket',
    find: 'return this.mapPage(mapping, page) ? mapping : undefined;', replace: 'return undefined;',
  },
  {
    guard: 'a bucket of nothing but holes is not kept', file: cache, spec, test: 'Unmapped gpa: holes do not fill the cache',
    find: 'if (!any) return undefined;', replace: '',
  },
  {
    guard: 'a copy ends at its page', file: 'src/device-model/dma.ts', spec, test: 'frames that were not granted',
    find: 'const step = Math.min(end - done, PAGE_SIZE - (address & (PAGE_SIZE - 1)));', replace: 'const step = end - done;',
  },
  {
    guard: 'a guest-physical address is no machine address', file: cache, spec: 'test/device-model-hypervisor.spec.ts',
    test: 'serves a doorbell',
    find: 'return ((mapping.frames[(gpa & (BUCKET_SIZE - 1)) >>> PAGE_SHIFT]! >>> 0) + (gpa & (PAGE_SIZE - 1))) as Maddr;',
    replace: 'return gpa as Maddr;',
  },
];
