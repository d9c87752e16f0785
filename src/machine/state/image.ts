/**
 * Machine memory as a state: pages that hold something. Free frames are left out, for whoever is handed one finds it zeroed; so is the
 * engine's area, whose registers and TLB the vCPU saves itself and whose decoded code is made anew.
 */
import { type Mfn, PAGE_SIZE } from '../../base/address.ts';
import { UserError } from '../../base/errors.ts';
import type { MachineMemory } from '../../hypervisor/mm/memory.ts';
import { FRAME_ENTRY_SIZE } from '../../hypervisor/mm/memory.ts';
import { DOMID_FREE, PGC_CODE } from '../../hypervisor/mm/page-alloc.ts';

/** Pages of machine memory by their number, ascending; all others are zero. */
export interface MemoryImage {
  /** Bytes of the memory that the pages are of. */
  readonly memorySize: number;
  readonly pages: Uint32Array;
  /** The pages' bytes, one behind the other. */
  readonly data: Uint8Array;
}

/** The pages that are a part of a machine's state, ascending: [first, end) runs. */
function* runsOf(memory: MachineMemory): Generator<readonly [number, number]> {
  const { layout } = memory;
  yield [layout.xenheap.base / PAGE_SIZE, (layout.engineArea[0]?.base ?? layout.firstFrame * PAGE_SIZE) / PAGE_SIZE];
  yield [layout.firstFrame, layout.firstFrame + layout.frameCount];
}

/** Does the page hold something that a state must keep? */
function isKept(memory: MachineMemory, page: number): boolean {
  const { layout, u32 } = memory;
  if (page >= layout.firstFrame && u32[(memory.frameEntry(page as Mfn) >>> 2) + 1] === DOMID_FREE) return false;
  return !isZero(memory, page);
}

function isZero({ f64, u32 }: MachineMemory, page: number): boolean {
  const first = page * (PAGE_SIZE / 8);
  // A double that is not zero, or NaN, ends the search; minus zero looks like zero, so the words are asked in the end.
  for (let i = first; i < first + PAGE_SIZE / 8; i++) if (f64[i] !== 0) return false;
  for (let i = first * 2; i < (first + PAGE_SIZE / 8) * 2; i++) if (u32[i] !== 0) return false;
  return true;
}

/** Page numbers of all pages that a state must keep. */
export function keptPages(memory: MachineMemory): Uint32Array {
  const pages: number[] = [];
  for (const [first, end] of runsOf(memory))
    for (let page = first; page < end; page++) if (isKept(memory, page)) pages.push(page);
  return Uint32Array.from(pages);
}

export function saveImage(memory: MachineMemory): MemoryImage {
  const pages = keptPages(memory);
  const data = new Uint8Array(pages.length * PAGE_SIZE);
  pages.forEach((page, i) => data.set(memory.u8.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE), i * PAGE_SIZE));
  return { memorySize: memory.layout.size, pages, data };
}

/** Throws UserError for an image of another memory, or one whose tables lead out of it. */
export function restoreImage(memory: MachineMemory, image: MemoryImage): void {
  checkImage(memory, image);
  const { pages, data } = image;
  let next = 0;
  for (const [first, end] of runsOf(memory)) {
    for (let page = first; page < end; page++) {
      if (pages[next] === page) {
        memory.u8.set(data.subarray(next * PAGE_SIZE, (next + 1) * PAGE_SIZE), page * PAGE_SIZE);
        next++;
      } else if (!isZero(memory, page)) memory.u8.fill(0, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    }
  }
  checkTables(memory);
  forgetCode(memory);
}

function checkImage(memory: MachineMemory, { memorySize, pages, data }: MemoryImage): void {
  if (memorySize !== memory.layout.size)
    throw new UserError(`saved state: ${memorySize} bytes of machine memory; this machine has ${memory.layout.size}`);
  if (data.length !== pages.length * PAGE_SIZE)
    throw new UserError(`saved state: ${data.length} bytes for ${pages.length} pages of memory`);
  const runs = [...runsOf(memory)];
  for (let i = 0; i < pages.length; i++) {
    const page = pages[i]!;
    if ((i > 0 && page <= pages[i - 1]!) || !runs.some(([first, end]) => page >= first && page < end))
      throw new UserError(`saved state: page 0x${page.toString(16)} is out of place`);
  }
}

/** No p2m entry may lead out of the frames: the vCPU follows it without a look. */
function checkTables(memory: MachineMemory): void {
  const { layout, u32 } = memory;
  for (const { base, size } of layout.p2m) {
    for (let word = base >>> 2; word < (base + size) >>> 2; word++) {
      const entry = u32[word]!;
      if (entry !== 0 && !memory.isRamFrame((entry & 0xf_ffff) as Mfn))
        throw new UserError(`saved state: the p2m maps machine frame 0x${(entry & 0xf_ffff).toString(16)}, which is not RAM`);
    }
  }
}

/** Which frames hold decoded code is the engine's to say, which begins with none. */
function forgetCode({ layout, u32 }: MachineMemory): void {
  const { base, size } = layout.frameTable;
  for (let word = base >>> 2; word < (base + size) >>> 2; word += FRAME_ENTRY_SIZE / 4) u32[word]! &= ~PGC_CODE;
}
