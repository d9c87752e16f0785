/** Every field of every part of a machine's state comes back: each is changed, restored and saved again. */
import { describe, expect, it } from 'vitest';
import type { Snapshot } from '../../src/base/snapshot.ts';
import type { DeviceModelState } from '../../src/device-model/device-model.ts';
import type { IoreqServerState } from '../../src/device-model/ioreq-server.ts';
import type { PciState } from '../../src/devices/pci/pci-device.ts';
import type { HvmVcpuSaved } from '../../src/hypervisor/vmx/hvm.ts';
import type { HypercallGate } from '../../src/machine/state/gate.ts';
import { start, tinyOptions } from './machines.ts';

/** The same state with another value in every field; texts stay, and arrays of objects are changed inside. */
function changed(value: unknown): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value + 1 : 12_345;
  if (typeof value === 'boolean') return !value;
  if (ArrayBuffer.isView(value)) {
    const copy = (value as Uint8Array).slice();
    if (copy.length > 0) copy[0] = typeof copy[0] === 'bigint' ? (((copy[0] as bigint) + 1n) as never) : copy[0]! ^ 1;
    return copy;
  }
  if (Array.isArray(value)) return value.map(changed);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, changed(inner)]));
  return value;
}

const { machine } = start(tinyOptions());
machine.runTo({ exits: 320 });
const before = machine.save();

/** The parts themselves, with the gate to the hypervisor closed as while a machine is restored. */
interface Inside {
  readonly gate: HypercallGate;
  parts(): [string, Snapshot<unknown>][];
}
const inside = machine as unknown as Inside;
const deviceModel = machine.deviceModel as unknown as Pick<Inside, 'parts'>;
inside.gate.close((before.parts['device model']!.state as DeviceModelState).parts['ioreq server']!.state as IoreqServerState);
const parts = new Map<string, Snapshot<unknown>>([
  ...inside.parts().filter(([name]) => name !== 'device model'),
  ...deviceModel.parts().map(([name, part]): [string, Snapshot<unknown>] => [`device model: ${name}`, part]),
]);

/** What follows from other fields, made to fit: the status bit of an interrupt that is wanted, the bucket found last. */
function fitting(state: Record<string, unknown>): Record<string, unknown> {
  for (const pci of [state, state['pci']] as (Partial<PciState> | undefined)[]) {
    if (pci?.config === undefined) continue;
    if (pci.irqWanted) pci.config[6]! |= 8;
    else pci.config[6]! &= ~8;
  }
  const { buckets, cplusLength } = state;
  if (typeof cplusLength === 'number') return { ...state, cplusBuffer: new Uint8Array(cplusLength).fill(7) };
  return buckets instanceof Float64Array ? { ...state, last: buckets.at(-1) ?? -1 } : state;
}

/** Fields that a machine is given when it is made, or that follow from others. */
const GIVEN: Readonly<Record<string, readonly string[]>> = {
  'device model: ioreq server': ['id', 'ports', 'bufferedPort'],
  // Device and version name the state, and a changed register or base address moves what follows from it.
  'device model: serial': ['version'],
  'device model: vga': ['version'],
  // The order of mappings; the mappings themselves are the devices'.
  'device model: ports': ['bases'],
  'device model: memory': ['bases'],
};

describe('a field of a saved machine', () => {
  it.each([...parts.keys()].filter((name) => name !== 'vCPU' && name !== 'run queue'))('comes back, of %s', (name) => {
    const part = parts.get(name)!;
    const keep = GIVEN[name] ?? (name.startsWith('device model: pci') ? ['version'] : []);
    const state = part.save() as Record<string, unknown>;
    const altered = changed(state) as Record<string, unknown>;
    for (const field of keep) altered[field] = state[field];
    const wanted = fitting(altered);
    part.restore(wanted);
    expect(part.save()).toEqual(wanted);
    part.restore(state);
    expect(part.save()).toEqual(state);
  });

  it('comes back, of the vCPU', () => {
    const part = parts.get('vCPU')!;
    const { engine, ...rest } = part.save() as HvmVcpuSaved;
    const { controlBlock, tlb, pending: _pending, ...plain } = engine;
    const altered = {
      ...(changed(rest) as object),
      debugLine: [65, 66],
      engine: {
        ...(changed(plain) as object),
        controlBlock,
        tlb,
        pending: { type: 0, vector: 0x42, errorCode: -1, instructionLength: 3 },
        completed: Uint32Array.of(1, 2, 3, 4),
      },
    };
    part.restore(altered);
    const without = ({ engine: e, ...others }: { engine: object }): unknown => ({ ...others, engine: { ...e, controlBlock: 0 } });
    expect(without(part.save() as HvmVcpuSaved)).toEqual(without(altered));
    expect(tlb.length).toBeGreaterThan(0);
    part.restore({ ...rest, engine });
  });

  it('comes back, of the run queue', () => {
    const part = parts.get('run queue')!;
    part.restore({ domid: 0x7fff, vcpu: 0 });
    expect(part.save()).toEqual({ domid: 0x7fff, vcpu: 0 });
    expect(() => part.restore({ domid: 7, vcpu: 0 })).toThrow(/d7v0 is not a vCPU/);
  });
});
