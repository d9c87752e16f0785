// biome-ignore-all format: a table, a row a line or a few
// What keeps a story from saying more than its files; the tests are the specs of src/analyze.
const story = 'src/analyze/tell/story.spec.ts';
const pairs = 'src/analyze/join/pair.spec.ts';
const ownFiles = 'test/own-files.spec.ts';
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
    test: 'lie on one clock',
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
];
