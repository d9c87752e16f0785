/** Makes the vCPU under test: the one place of these tests that knows the engine behind the interface. */
import { maddr } from '../../src/base/address.ts';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-code.ts';
import { ENGINE_AREA_SIZE, Engine } from '../../src/cpu/run/engine.ts';
import type { NestedPaging, Vcpu } from '../../src/cpu/interface.ts';

/** Machine pages the engine takes for itself, from machine address 0; the first 64 KiB stay empty. */
export const ENGINE_PAGES = (ENGINE_AREA_SIZE + 0x10000) / 4096;

/** However seldom it ran. */
const ANY = { regionSamples: 0, samplesPerInstruction: 0, batch: 1, patience: 0, maxBytes: 1 << 30 };

/** Every block is compiled before it runs for the first time, by itself or with what it leads to; or what was seen a few times; or nothing. */
export const COMPILE = {
  all: { every: 0, ...ANY, samples: 1, single: true },
  regions: { every: 0, ...ANY, samples: 2, single: false },
  early: { every: 16, ...ANY, samples: 2, single: false },
  warm: { every: 150, ...ANY, samples: 2, single: false },
  never: { every: 1 << 30, ...ANY, samples: 1 << 30, single: false },
} as const satisfies Record<string, CompilePolicy>;

/** A vCPU whose TSC counts its instructions. */
export function createVcpu(memory: WebAssembly.Memory, nestedPaging: NestedPaging, compile?: CompilePolicy): Vcpu {
  const vcpu: Engine = new Engine({
    memory,
    ...(compile ? { compile } : {}),
    area: { base: maddr(0x10000), size: ENGINE_AREA_SIZE },
    nestedPaging,
    readTsc: () => vcpu.instructions,
  });
  return vcpu;
}
