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
export { echoRequestFrame } from '../net/frame.ts';
export { nicModelNames } from '../device-model/nics.ts';
export { tinyGuest, type TinyGuestOptions } from './tiny-guest.ts';
export {
  analyze,
  type Claim,
  type Analysis,
  type AnalysisInput,
  explainFiles,
  formatRef,
  type AddressRow,
  type Hop,
  type Ref,
  renderStory,
  type Sentence,
  type Story,
  tellStory,
} from '../analyze/index.ts';
export { describeFrame } from '../analyze/index.ts';
export { type DroppedFile, type FileSet, OpenFiles, type Place, recogniseFiles } from './files.ts';
export { type ByteField, frameFields, recordFields } from './byte-fields.ts';
export { type Hit, parseRef, type SeenRegister } from './chip-at.ts';
export { type FileKind, recogniseFile, recogniseImage } from './recognise.ts';
export { type Lane, readTimeline, type Timeline, withAccesses } from './timeline.ts';
export { debianCommandLine, type DebianMode, type NicDriver, nicDrivers } from './guests.ts';
export { type ExportForm, exportFiles } from './export.ts';
export type { Moment, StepKind, Travel, Who } from './travel.ts';
export { isRecording, type OpenedRecording, openRecording } from './recordings.ts';
export { blobSource, openTrace } from '../trace/index.ts';
export { type ExitCost, exitCosts, type FrameRow, frameRows, type RegisterCost, registerCosts } from './summary.ts';
