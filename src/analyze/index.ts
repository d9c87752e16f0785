/** Paths of I/O: joins of trace, device-model log and capture; stories and statistics. */
export { P2mTable } from './p2m-table.ts';
export { analyze, type Analysis, type AnalysisInput, type Lines } from './analysis.ts';
export { explainFiles, tellStory, type Subject } from './story.ts';
export type { AddressRow, Hop, Sentence, Story } from './story-model.ts';
export { renderStory, type RenderOptions } from './story-text.ts';
export { chips } from './devices.ts';
export { ioPaths, registerNames, type IoPath } from './path.ts';
export { CostTable, type CostRow } from './statistics.ts';
export { costLines, joinLines, pathJson, pathLine, PATH_HEADER } from './io-text.ts';
export { claim, formatRef, formatRefs, unknown, type Claim, type Ref, type Strength } from './evidence.ts';
