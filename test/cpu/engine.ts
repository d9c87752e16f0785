/** Makes the vCPU under test: the one place of these tests that knows the engine behind the interface. */
import { maddr } from '../../src/base/address.ts';
import { ENGINE_AREA_SIZE, Engine } from '../../src/cpu/engine.ts';
import type { NestedPaging, Vcpu } from '../../src/cpu/interface.ts';

/** Machine pages the engine takes for itself, from machine address 0; the first 64 KiB stay empty. */
export const ENGINE_PAGES = (ENGINE_AREA_SIZE + 0x10000) / 4096;

/** A vCPU whose TSC counts its instructions. */
export function createVcpu(memory: WebAssembly.Memory, nestedPaging: NestedPaging): Vcpu {
  const vcpu: Engine = new Engine({ memory, area: { base: maddr(0x10000), size: ENGINE_AREA_SIZE }, nestedPaging, readTsc: () => vcpu.instructions });
  return vcpu;
}
