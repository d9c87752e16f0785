/** Paths of I/O: joins of trace, device-model log and capture; stories and statistics. */
export { P2mTable } from './sources/p2m-table.ts';
export { analyze, guestName, theGuest, type Analysis, type AnalysisInput, type GuestFile, type Lines } from './join/analysis.ts';
export type { Guest, TscRate } from './join/guest.ts';
export { explainFiles, tellStory, type Subject } from './tell/story.ts';
export type { AddressRow, Hop, Sentence, Story } from './tell/story-model.ts';
export { renderStory, type RenderOptions } from './tell/story-text.ts';
export { describeFrame } from './sources/ethernet.ts';
export { nicReadings } from '../devices/nic/readings.ts';
export { ioPaths, registerNames, type IoPath } from './join/path.ts';
export { CostTable, type CostRow } from './join/statistics.ts';
export { explainTerm, likeTerms } from './tell/explain.ts';
export { glossary } from './tell/glossary.ts';
export { costLines, joinLines, pathJson, pathLine, PATH_HEADER } from './tell/io-text.ts';
export { claim, formatRef, formatRefs, unknown, type Claim, type Ref, type Strength } from './sources/evidence.ts';
export { traceToWallUs, wallToTraceNs } from './join/clock.ts';
