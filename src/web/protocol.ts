/** What the page and its reader Worker say to each other. Plain data. */
import type { ExitCost, FileSet, FrameRow, Place, Ref, RegisterCost, Story, Timeline } from '../library/index.ts';

export interface Summary {
  readonly frames: readonly FrameRow[];
  readonly timeline: Timeline | undefined;
  readonly registers: readonly RegisterCost[];
  readonly exits: readonly ExitCost[];
  /** What must be known first, one line each. */
  readonly notes: readonly string[];
}

export type ReaderRequest =
  | { readonly kind: 'open'; readonly files: FileSet }
  | { readonly kind: 'drop'; readonly files: readonly { readonly name: string; readonly blob: Blob }[] }
  | { readonly kind: 'story'; readonly packet: number }
  | { readonly kind: 'place'; readonly ref: Ref };

export interface ReaderAnswers {
  open: Summary;
  drop: Summary;
  story: Story;
  place: Place | undefined;
}

export type ReaderMessage =
  | { readonly id: number; readonly progress: number }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };
