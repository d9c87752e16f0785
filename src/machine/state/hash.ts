/**
 * One number for the whole state of a machine: two machines with the same number behave the same from there on. What the vCPU only
 * remembers to be fast is left out of it: TLB, lazy flags, which frames hold decoded code. So are the trace rings, which are output.
 */
import xxhash from 'xxhash-wasm';
import { type Mfn, PAGE_SIZE } from '../../base/address.ts';
import type { DeviceModelState } from '../../device-model/device-model.ts';
import type { VcpuState } from '../../cpu/interface.ts';
import { PGC_CODE } from '../../hypervisor/mm/page-alloc.ts';
import { FRAME_ENTRY_SIZE, type MachineMemory } from '../../hypervisor/mm/memory.ts';
import { architecturalPart } from '../../cpu/run/architectural.ts';
import type { HvmVcpuSaved } from '../../hypervisor/vmx/hvm.ts';
import type { InlineMachine } from '../machine.ts';
import { encodeState } from './codec.ts';
import { keptPages } from './image.ts';
import type { MachineState } from './machine-state.ts';

type Hasher = Awaited<ReturnType<typeof xxhash>>;
let hasher: Hasher | undefined;

/** Must have been awaited once before stateHash is called. */
export async function prepareHash(): Promise<void> {
  hasher ??= await xxhash();
}

/** Hash of every page that counts, by page number; a page that is zero or free is in none. */
export function pageHashes(memory: MachineMemory): Map<number, bigint> {
  if (hasher === undefined) throw new Error('prepareHash() comes first');
  const { layout, u8 } = memory;
  const within = (page: number, { base, size }: { base: number; size: number }): boolean =>
    page * PAGE_SIZE >= base && page * PAGE_SIZE < base + size;
  const page = new Uint8Array(PAGE_SIZE);
  const words = new Uint32Array(page.buffer);
  const hashes = new Map<number, bigint>();
  for (const number of keptPages(memory)) {
    if (layout.traceBuffers.some((ring) => within(number, ring))) continue;
    page.set(u8.subarray(number * PAGE_SIZE, (number + 1) * PAGE_SIZE));
    if (within(number, layout.frameTable)) for (let i = 0; i < words.length; i += FRAME_ENTRY_SIZE / 4) words[i]! &= ~PGC_CODE;
    hashes.set(number, hasher.h64Raw(page));
  }
  return hashes;
}

/** The parts of a machine as they count: without what the vCPU can do without. */
export function countedParts(machine: InlineMachine): MachineState['parts'] {
  const { parts } = machine.saveParts();
  const vcpu = parts['vCPU']!;
  const { engine, ...rest } = vcpu.state as HvmVcpuSaved;
  const { controlBlock, tlb: _tlb, ...counted } = engine as VcpuState;
  return { ...parts, vCPU: { ...vcpu, state: { ...rest, engine: { ...counted, registers: architecturalPart(controlBlock) } } } };
}

const digits = (hash: bigint): string => hash.toString(16).padStart(16, '0');

/** Hash of each part by its name (`device model` by its own parts), and of the `memory`: sixteen hexadecimal digits each. */
export function partHashes(machine: InlineMachine): Record<string, string> {
  if (hasher === undefined) throw new Error('prepareHash() comes first');
  const { h64Raw, create64 } = hasher;
  const hashes: Record<string, string> = {};
  for (const [name, part] of Object.entries(countedParts(machine))) {
    if (name !== 'device model') hashes[name] = digits(h64Raw(encodeState(part)));
    else
      for (const [inner, its] of Object.entries((part.state as DeviceModelState).parts))
        hashes[`${name}: ${inner}`] = digits(h64Raw(encodeState(its)));
  }
  const memory = create64();
  for (const [page, hash] of pageHashes(machine.memory))
    memory.update(new Uint8Array(BigUint64Array.of(BigInt(page), hash).buffer));
  hashes['memory'] = digits(memory.digest());
  return hashes;
}

/** Sixteen hexadecimal digits for all of it. */
export function stateHash(machine: InlineMachine): string {
  if (hasher === undefined) throw new Error('prepareHash() comes first');
  return digits(hasher.h64Raw(encodeState(partHashes(machine))));
}

/** What lies on a page of machine memory, in words. */
export function describePage(machine: InlineMachine, page: number): string {
  const { memory, p2m } = machine;
  const { layout } = memory;
  const at = page * PAGE_SIZE;
  if (page >= layout.firstFrame) {
    const owner = memory.u32[(memory.frameEntry(page as Mfn) >>> 2) + 1]!;
    const gfn = gfnOf(machine, page);
    return gfn === undefined
      ? `machine frame 0x${page.toString(16)} of d${owner}`
      : `guest frame 0x${gfn.toString(16)} of d${p2m.domid}`;
  }
  for (const { name, base, size } of memory.xenheapEntries())
    if (at < base + size && at + PAGE_SIZE > base) return `Xen's heap near '${name}'`;
  if (at < layout.frameTable.base + layout.frameTable.size && at >= layout.frameTable.base) return 'the frame table';
  if (layout.p2m.some(({ base, size }) => at >= base && at < base + size)) return 'the p2m';
  return `machine page 0x${page.toString(16)}`;
}

/** Guest frame behind which a machine frame lies. */
function gfnOf({ memory }: InlineMachine, frame: number): number | undefined {
  const table = memory.layout.p2m[0]!;
  for (let gfn = 0; gfn < table.size / 4; gfn++) {
    const entry = memory.u32[(table.base >>> 2) + gfn]!;
    if (entry !== 0 && (entry & 0xf_ffff) === frame) return gfn;
  }
  return undefined;
}
