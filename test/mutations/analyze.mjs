// biome-ignore-all format: a table, a row a line or a few
// What keeps a story from saying more than its files; the tests are the specs of src/analyze.
const story = 'src/analyze/tell/story.spec.ts';
const pairs = 'src/analyze/join/pair.spec.ts';
const ownFiles = 'test/own-files.spec.ts';
const claims = 'test/claims/claims.spec.ts';
const captureClock = 'src/analyze/join/capture-clock.spec.ts';
const at = (name) => `src/analyze/${name}.ts`;

export default [
  {
    guard: 'a missing wait proves nothing', file: at('join/route'), spec: story, test: 'without log, wait and wake-up: unknown',
    find: 'if (marks.notified !== undefined) {', replace: 'if (marks.blocked === undefined) {',
  },
  {
    guard: 'a buffered slot has 20 address bits', file: at('join/route'), spec: story,
    test: 'an address in the VGA hole changes the answer',
    find: "access.space === 'mmio' && access.dir === 'write' && access.addr <= BUFIOREQ_MAX_ADDR", replace: 'false',
  },
  {
    guard: 'records lost inside an access leave its route open', file: at('join/route'), spec: story,
    test: 'records lost in the middle',
    find: 'if (access.lost !== undefined) {', replace: 'if (false) {',
  },
  {
    guard: 'no stage is timed across lost records', file: at('join/route'), spec: story, test: 'records lost in the middle',
    find: 'to === undefined || access.lost !== undefined ||', replace: 'to === undefined ||',
  },
  {
    guard: 'data must be equal for a pair', file: at('join/pair'), spec: pairs, test: 'never pairs unequal data',
    find: '${BigInt.asUintN(32, data)}`;', replace: '`;',
  },
  {
    guard: 'pairs keep each vCPU\'s order', file: at('join/pair'), spec: pairs, test: 'pairs two vCPUs whose requests overtake',
    find: 'const from = (before.get(vcpu) ?? -1) + 1;', replace: 'const from = 0;',
  },
  {
    guard: 'a clock that was set has no error bar', file: at('join/clock'), spec: pairs, test: 'drops a few contradicting pairs',
    find: 'if (outliers.length >= allowed) {', replace: 'if (false) {',
  },
  {
    guard: 'hypercalls that map memory are named', file: at('tell/story-answers'), spec: story,
    test: 'a logged remap proves the miss',
    find: 'if (seen.length > 0) {', replace: 'if (false) {',
  },
  {
    guard: 'a frame leaves in its request\'s time', file: at('join/frames'), spec: story,
    test: 'a frame captured at another time',
    find: 'between(frames, span.fromUs + offsetUs - errorUs - TAP_US, span.untilUs + offsetUs + errorUs + TAP_US).filter(',
    replace: 'frames.filter(',
  },
  {
    guard: 'a hit is the same mapping as before', file: at('join/mapcache'), spec: story, test: 'a logged remap proves the miss',
    find: 'if (dma.remapIndex !== undefined)\n', replace: 'if (false)\n',
  },
  {
    guard: "a log's header that contradicts the pairs is not used", file: at('join/clock'), spec: ownFiles,
    test: 'are aligned by their pairs where the header does not fit',
    find: 'if (contradicting > 0) return', replace: 'if (false) return',
  },
  {
    guard: "the device model's steps lie within dom0's running time", file: at('tell/story-hops'), spec: ownFiles,
    test: 'by pairs of a coarse log',
    find: 'return from <= until ? {', replace: 'return false ? {',
  },
  {
    guard: 'a way is told in the order of its times', file: at('tell/story-hops'), spec: 'src/analyze/tell/story-hops.spec.ts',
    test: 'is that of the times',
    find: 'groups.sort((p, q) => (p[0]!.atNs ?? -Infinity) - (q[0]!.atNs ?? -Infinity));', replace: '',
  },
  {
    guard: 'mapping calls matter only where the map cache missed', file: at('tell/story-answers'), spec: story,
    test: 'mapping calls of dom0 matter',
    find: "outcomes.every((o) => o === 'hit')", replace: 'false',
  },
  // Noticed by the checker of claims, which reads the raw files by itself.
  {
    guard: 'an access is told in its direction', file: at('tell/story-hops'), spec: claims, test: 'two domains with the same chip',
    find: "access.dir === 'write'\n      ? `writes", replace: "access.dir === 'read'\n      ? `writes",
  },
  {
    guard: 'a request is referred to by its own line', file: at('tell/story-hops'), spec: claims, test: 'two domains with the same chip',
    find: "strength ?? 'proven',\n    [logLine(r.line, log?.source),", replace: "strength ?? 'proven',\n    [logLine(r.line + 1, log?.source),",
  },
  {
    guard: 'an access is referred to by its own record', file: at('tell/story-hops'), spec: claims, test: 'two domains with the same chip',
    find: '[access.record.ref, ...(npf ?', replace: '[(access.marks.exit ?? access.record).ref, ...(npf ?',
  },
  {
    guard: "a slot is that of the access's vCPU", file: at('tell/story-hops'), spec: claims, test: 'two domains with the same chip',
    find: '`fills slot ${access.vcpu} of', replace: '`fills slot ${access.dom} of',
  },
  {
    guard: 'a frame is of the guest whose station sent it', file: at('join/frames'), spec: claims, test: 'two domains, one with a chip',
    find: '(stations.size === 0 || stations.has(sourceOf(f)))', replace: 'true',
  },
  {
    guard: 'a frame is one that left in the request', file: at('join/frames'), spec: claims, test: 'two domains with the same chip',
    find: '?? fitting[0];', replace: '?? frames.find((f) => !used.has(f.number));',
  },
  {
    guard: 'a chip is where its BAR lies', file: at('join/devices'), spec: claims, test: 'one domain with a known and an unknown NIC',
    find: 'w.space !== space || !inside(w, addr)', replace: 'w.space !== space',
  },
  {
    guard: "a domain's handlers are those of its own log", file: at('join/analysis'), spec: claims, test: 'two domains, one with a chip',
    find: 'const windows = findDevices({ log, accesses, console, options });',
    replace: "const windows = findDevices({ log, accesses, console, options: single ? options : ['rtl8139@0xf1000000'] });",
  },
  {
    guard: 'descriptors are counted from the base of their ring', file: at('join/transmit'), spec: claims, test: 'two domains with the same chip',
    find: '(group.at - ring.base) / ring.descriptorBytes!,', replace: '(group.at - ring.base) / ring.descriptorBytes! + 1,',
  },
  {
    guard: 'a frame lies where the device model asked for it', file: at('join/transmit'), spec: claims, test: 'two domains with the same chip',
    find: 'group.buffers[0]!.gpa,\n', replace: 'group.buffers[0]!.gpa + 0x1000,\n',
  },
  {
    guard: 'the time of an access ends with its entry', file: at('join/route'), spec: claims, test: 'two domains with the same chip',
    find: 'total: between(exit, entry),', replace: 'total: between(exit, woken),',
  },
  {
    guard: 'an interrupt is told with its vector', file: at('tell/story-hops'), spec: claims, test: 'two domains with the same chip',
    find: '`injects vector ${hex(vector.value)} into', replace: '`injects vector ${hex(vector.value + 1)} into',
  },
  {
    guard: 'a cause is that of the next read', file: at('join/interrupt'), spec: claims, test: 'two domains with the same chip',
    find: 'access.index > (after?.index ?? -1)', replace: 'access.index > -1',
  },
  {
    guard: 'every sentence rests on something', file: at('tell/story-hops'), spec: claims, test: 'two domains with the same chip',
    find: "'waits: running→offline.', 'proven', [marks.blocked.ref]", replace: "'waits: running→offline.', 'proven', []",
  },
  {
    guard: "a log of another domain's device model is left out", file: at('join/belong'), spec: claims,
    test: 'a log may be given to its domain',
    find: 'paired < (paired + strange) * LEAST_SHARE', replace: 'false',
  },
  {
    guard: 'a log of another run is left out', file: at('join/belong'), spec: claims, test: 'a log of another run of the same guests',
    find: 'if (clock !== undefined && !clock.consistent)\n', replace: 'if (false)\n',
  },
  {
    guard: 'two runs of one machine differ where one value differs', file: at('join/belong'), spec: ownFiles,
    test: 'of two runs that differ in one value',
    find: 'if (odd !== undefined) return odd;', replace: '',
  },
  {
    guard: 'a frame serves one doorbell', file: at('join/capture-clock'), spec: captureClock, test: 'the clock of a capture is not found by one frame',
    find: '    fits++;\n    next++;', replace: '    fits++;',
  },
  {
    guard: 'nearly all doorbells fit the clock of a capture', file: at('join/capture-clock'), spec: captureClock,
    test: 'the clock of a capture is not that of a run that did half of it',
    find: 'fits < during * share ||', replace: '',
  },
  {
    guard: 'one difference of clocks is clearly the best', file: at('join/capture-clock'), spec: captureClock,
    test: 'the clock of a capture is not taken where two differences fit alike',
    find: 'if (rival > fits * RIVAL_SHARE) return undefined;', replace: '',
  },
  {
    guard: 'a record that a mail has twice is read once', file: at('sources/text-layer'), spec: 'src/analyze/sources/text-layer.spec.ts',
    test: 'a text as it comes a mail in two forms',
    find: "if (shape !== 'cut' && this.copies.isRepeat(", replace: 'if (false && this.copies.isRepeat(',
  },
];
