/**
 * Machine memory: the host's RAM, one WebAssembly.Memory, shared where several threads work in it, and what lies where in it.
 *
 * From the bottom: a guard page (machine address 0 is nobody's), Xen's heap (hypervisor state with a directory, so that
 * every thread finds a structure by name), the frame table, the heap's free list, one p2m table a domain, t_info and the
 * trace rings, one area a vCPU for its engine (decoded blocks, TLB, registers), and last the frames handed to domains.
 * The layout is a plain object of numbers: `machineLayout(options)` gives the same one on every thread.
 */
import { UserError } from '../../base/errors.ts';
import { maddr, mfn, PAGE_SIZE } from '../../base/address.ts';
import type { Maddr, Mfn } from '../../base/address.ts';
import { Lock, LockOrder } from './lock.ts';

/** A stretch of machine memory: first byte and length, both in bytes. */
interface Area {
  readonly base: Maddr;
  readonly size: number;
}

export interface MachineMemoryOptions {
  /** Frames (4 KiB) to hand out to domains. */
  readonly frames: number;
  /** Virtual CPUs whose engines need an area of their own. */
  readonly vcpus: number;
  /** Bytes of one engine area; rounded up to 64 KiB. */
  readonly engineAreaSize: number;
  /** Physical CPUs: number of trace rings. */
  readonly pcpus: number;
  /** Domains with a p2m (dom0 has none: its device model maps frames by machine address). */
  readonly guests: number;
  /** Guest frame numbers below this have a p2m entry; above there is nothing. */
  readonly maxGfn: number;
  /** Pages of one trace ring. */
  readonly tracePages: number;
  /** Bytes for hypervisor state. */
  readonly xenheapSize: number;
}

const defaultMemoryOptions: MachineMemoryOptions = {
  frames: 0x4000,
  vcpus: 1,
  engineAreaSize: 0x10000,
  pcpus: 2,
  guests: 1,
  maxGfn: 0x100000,
  tracePages: 64,
  xenheapSize: 0x100000,
};

/** Where everything lies. Addresses in bytes from the start of the WebAssembly memory. */
export interface MachineLayout {
  readonly options: MachineMemoryOptions;
  readonly xenheap: Area;
  readonly frameTable: Area;
  readonly freeList: Area;
  /** One per guest, in order of guest index (domid − 1 for the first guests). */
  readonly p2m: readonly Area[];
  readonly traceInfo: Area;
  /** One per pCPU: t_buf with its two pointers. */
  readonly traceBuffers: readonly Area[];
  /** One per vCPU: the engine's own; nothing else touches it. 64 KiB aligned. */
  readonly engineArea: readonly Area[];
  readonly firstFrame: Mfn;
  readonly frameCount: number;
  /** Total bytes; a multiple of 64 KiB. */
  readonly size: number;
}

const WASM_PAGE = 0x10000;
const MAX_SIZE = 0x1_0000_0000;

/** Bytes of a frame-table entry: u32 count and flags, u32 owner. */
export const FRAME_ENTRY_SIZE = 8;

/**
 * The layout for these options; throws a UserError when they need more than the 4 GiB of a 32-bit memory.
 */
export function machineLayout(given: Partial<MachineMemoryOptions> = {}): MachineLayout {
  const options: MachineMemoryOptions = { ...defaultMemoryOptions, ...given };
  let next = PAGE_SIZE;
  const take = (size: number, align: number): Area => {
    const base = Math.ceil(next / align) * align;
    next = base + size;
    return { base: maddr(base), size };
  };
  const xenheap = take(options.xenheapSize, PAGE_SIZE);
  const frameTable = take(options.frames * FRAME_ENTRY_SIZE, PAGE_SIZE);
  const freeList = take(options.frames * 4, PAGE_SIZE);
  const p2m = Array.from({ length: options.guests }, () => take(options.maxGfn * 4, PAGE_SIZE));
  const traceInfo = take(PAGE_SIZE, PAGE_SIZE);
  const traceBuffers = Array.from({ length: options.pcpus }, () => take(options.tracePages * PAGE_SIZE, PAGE_SIZE));
  const engineSize = Math.ceil(options.engineAreaSize / WASM_PAGE) * WASM_PAGE;
  const engineArea = Array.from({ length: options.vcpus }, () => take(engineSize, WASM_PAGE));
  const frames = take(options.frames * PAGE_SIZE, WASM_PAGE);
  const size = Math.ceil(next / WASM_PAGE) * WASM_PAGE;
  if (size > MAX_SIZE) {
    throw new UserError(
      `machine memory: ${Math.ceil(size / 0x100000)} MiB needed for ${(options.frames * PAGE_SIZE) / 0x100000} MiB of guest frames, ` +
        'but a 32-bit memory holds 4096 MiB: give the guest less memory',
    );
  }
  return {
    options,
    xenheap,
    frameTable,
    freeList,
    p2m,
    traceInfo,
    traceBuffers,
    engineArea,
    firstFrame: mfn(frames.base / PAGE_SIZE),
    frameCount: options.frames,
    size,
  };
}

/**
 * The host's RAM for this layout, of fixed size (it never grows, so views stay valid). Throws UserError when the
 * real machine does not give that much.
 * @param shared false: memory that one thread alone can use, for where shared memory cannot be had
 */
export function createWasmMemory(layout: MachineLayout, shared = true): WebAssembly.Memory {
  const pages = layout.size / WASM_PAGE;
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UserError(
      `machine memory: ${Math.ceil(layout.size / 0x100000)} MiB could not be had (${error.message}); give the guest less memory`,
    );
  }
}

const DIRECTORY_ENTRIES = 512;
const DIRECTORY_NAME = 56;
const DIRECTORY_ENTRY = 8 + DIRECTORY_NAME;
/** Xen's heap starts with: u32 lock, u32 bytes used, then the directory. */
const HEAP_LOCK = 0;
const HEAP_USED = 4;
const HEAP_DIRECTORY = 64;

/** One thread's view of machine memory, and Xen's heap in it. */
export class MachineMemory {
  readonly memory: WebAssembly.Memory;
  readonly layout: MachineLayout;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  readonly view: DataView;
  /** Other threads can use it, and a thread can sleep on a word of it. */
  readonly isShared: boolean;
  /** Ranks of the locks this thread holds, lowest first (lock.ts). */
  readonly heldLocks: number[] = [];
  /** Kicks this thread sent: what else raised a futex word came from outside. */
  kicks = 0;
  private readonly heapLock: Lock;

  /** Attach to a memory made by createWasmMemory, on any thread. */
  constructor(memory: WebAssembly.Memory, layout: MachineLayout) {
    const { buffer } = memory;
    if (buffer.byteLength !== layout.size) {
      throw new Error(`machine memory of ${buffer.byteLength} bytes does not fit its layout of ${layout.size} bytes`);
    }
    this.memory = memory;
    this.layout = layout;
    this.isShared = !(buffer instanceof ArrayBuffer);
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.view = new DataView(buffer);
    this.heapLock = new Lock(this, maddr(layout.xenheap.base + HEAP_LOCK), LockOrder.xenheap, 'xenheap');
  }

  /** A new machine's memory, all zero. */
  static create(options: Partial<MachineMemoryOptions> = {}, shared = true): MachineMemory {
    const layout = machineLayout(options);
    return new MachineMemory(createWasmMemory(layout, shared), layout);
  }

  /**
   * The structure of this name in Xen's heap: `size` zero bytes, aligned to `align` (a power of two ≥ 4), made on first
   * use and found again by every other thread. Asking with another size is a programming error and throws.
   */
  xenheap(name: string, size: number, align = 64): Maddr {
    if (name.length > DIRECTORY_NAME) throw new Error(`xenheap: name '${name}' is longer than ${DIRECTORY_NAME} characters`);
    this.heapLock.acquire();
    try {
      return this.findOrMake(name, size, align);
    } finally {
      this.heapLock.release();
    }
  }

  /** Every named structure of Xen's heap, for dumps and snapshots. */
  *xenheapEntries(): Generator<{ name: string; base: Maddr; size: number }> {
    const directory = this.layout.xenheap.base + HEAP_DIRECTORY;
    for (let i = 0; i < DIRECTORY_ENTRIES; i++) {
      const entry = directory + i * DIRECTORY_ENTRY;
      const base = this.u32[entry >>> 2]!;
      if (base === 0) return;
      yield { name: this.directoryName(entry), base: maddr(base), size: this.u32[(entry >>> 2) + 1]! };
    }
  }

  private findOrMake(name: string, size: number, align: number): Maddr {
    const { base, size: heapSize } = this.layout.xenheap;
    const directory = base + HEAP_DIRECTORY;
    for (let i = 0; i < DIRECTORY_ENTRIES; i++) {
      const entry = directory + i * DIRECTORY_ENTRY;
      const word = entry >>> 2;
      const found = this.u32[word]!;
      if (found === 0) {
        const used = this.u32[(base + HEAP_USED) >>> 2]! || HEAP_DIRECTORY + DIRECTORY_ENTRIES * DIRECTORY_ENTRY;
        const start = Math.ceil((base + used) / align) * align;
        if (start + size > base + heapSize) {
          throw new UserError(`Xen's heap of ${heapSize} bytes is full at '${name}' (${size} bytes): raise xenheapSize`);
        }
        for (let c = 0; c < name.length; c++) this.u8[entry + 8 + c] = name.charCodeAt(c);
        this.u32[word + 1] = size;
        this.u32[word] = start;
        this.u32[(base + HEAP_USED) >>> 2] = start + size - base;
        return maddr(start);
      }
      if (this.directoryName(entry) === name) {
        if (this.u32[word + 1] !== size) {
          throw new Error(`xenheap: '${name}' is ${this.u32[word + 1]} bytes long, not ${size}`);
        }
        return maddr(found);
      }
    }
    throw new Error(`xenheap: more than ${DIRECTORY_ENTRIES} structures at '${name}'`);
  }

  private directoryName(entry: number): string {
    let name = '';
    for (let c = 0; c < DIRECTORY_NAME; c++) {
      const code = this.u8[entry + 8 + c]!;
      if (code === 0) break;
      name += String.fromCharCode(code);
    }
    return name;
  }

  /** True when this frame number lies in the part of memory that is handed to domains. */
  isRamFrame(frame: Mfn): boolean {
    const index = frame - this.layout.firstFrame;
    return index >= 0 && index < this.layout.frameCount;
  }

  /** The frame's bytes as a view (allocates: not for hot paths). */
  frame(frame: Mfn): Uint8Array {
    return this.u8.subarray(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
  }

  /** Machine address of this frame's entry in the frame table. */
  frameEntry(frame: Mfn): Maddr {
    return maddr(this.layout.frameTable.base + (frame - this.layout.firstFrame) * FRAME_ENTRY_SIZE);
  }
}
