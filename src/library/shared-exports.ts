/** What the library has in every environment, beside Machine itself. */
export type { MachineState, Nic } from './machine.ts';
export type { ImageSource, MachineOptions, NicConfig, Placement, RecordsWanted } from './options.ts';
export type { EventName, FrameEvent, MachineEnd, MachineEvents } from './events.ts';
export type { ExecResult } from './console.ts';
export type { RecordFiles } from './records.ts';
export { Hub, type HubCable } from './hub.ts';
export { codeKernel } from './code-kernel.ts';
export type { Device } from '../machine/custom-device.ts';
export type { AddressSpace, CpuRegisters } from '../machine/inspect.ts';
export type { ChipName, ExitEvent, InterruptEvent, IoreqEvent, NicState } from '../machine/requests.ts';
export type { RunOutcome } from '../machine/exit-status.ts';
export type { RegisterReading } from '../base/registers.ts';
export { UserError } from '../base/errors.ts';
export { nicModelNames } from '../device-model/nics.ts';
export { tinyGuest, type TinyGuestOptions } from './tiny-guest.ts';
export {
  analyze,
  type Claim,
  type Analysis,
  type AnalysisInput,
  explainFiles,
  formatRef,
  type Hop,
  type Ref,
  renderStory,
  type Sentence,
  type Story,
  tellStory,
} from '../analyze/index.ts';
export { describeFrame } from '../analyze/index.ts';
export { type FileSet, OpenFiles, type Place, recogniseFiles } from './files.ts';
export { type FileKind, recogniseFile } from './recognise.ts';
export { type Lane, readTimeline, type Timeline } from './timeline.ts';
export { blobSource, openTrace } from '../trace/index.ts';
export { type ExitCost, exitCosts, type FrameRow, frameRows, type RegisterCost, registerCosts } from './summary.ts';
