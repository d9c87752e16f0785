/** What the page and its Workers say to each other. Plain data. */
import type {
  CpuRegisters,
  DroppedFile,
  ExitCost,
  ExportForm,
  FileSet,
  FrameRow,
  Hit,
  MachineOptions,
  Moment,
  NicState,
  Place,
  Ref,
  RegisterCost,
  RegisterReading,
  SeenRegister,
  StepKind,
  Story,
  Timeline,
  Who,
} from '../library/index.ts';

export interface Summary {
  readonly frames: readonly FrameRow[];
  /** Read after the first story is told: undefined until then. */
  readonly timeline: Timeline | undefined;
  readonly registers: readonly RegisterCost[];
  readonly exits: readonly ExitCost[];
  /** What must be known first, one line each. */
  readonly notes: readonly string[];
}

/** Asked of the Worker that reads files. */
export type ReaderRequest =
  | { readonly kind: 'open'; readonly files: FileSet }
  | { readonly kind: 'drop'; readonly files: readonly DroppedFile[] }
  | { readonly kind: 'timeline' }
  | { readonly kind: 'story'; readonly packet: number }
  | { readonly kind: 'place'; readonly ref: Ref }
  | { readonly kind: 'registers'; readonly ns: number }
  | { readonly kind: 'search'; readonly text: string }
  | { readonly kind: 'export'; readonly form: ExportForm };

export interface ReaderAnswers {
  open: Summary;
  drop: Summary;
  timeline: Pick<Summary, 'timeline' | 'exits'>;
  story: Story;
  place: Place | undefined;
  registers: readonly SeenRegister[];
  search: readonly Hit[];
  export: Blob;
}

/** A machine as it stood at a place of its run. */
export interface Standing {
  readonly at: Moment;
  readonly nic: NicState;
  readonly cpu: CpuRegisters;
  readonly lapic: readonly RegisterReading[];
}

/** Asked of the Worker that goes to and fro in the live machine's run. */
export type TravelRequest =
  | { readonly kind: 'begin'; readonly options: MachineOptions }
  | { readonly kind: 'recording'; readonly file: Blob; readonly name: string }
  | { readonly kind: 'goTo'; readonly ns: number }
  | { readonly kind: 'step'; readonly of: StepKind; readonly direction: 1 | -1 }
  | { readonly kind: 'whoWrote'; readonly gpa: number; readonly length: number; readonly ns: number }
  | { readonly kind: 'whoWroteRegister'; readonly name: string };

export interface TravelAnswers {
  begin: Standing;
  recording: FileSet;
  goTo: Standing;
  step: Standing;
  whoWrote: Who;
  whoWroteRegister: Who | undefined;
}

export type WorkerAnswer =
  | { readonly id: number; readonly progress: number }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };
