/** Who wrote this? Searches a run backwards for the last write of guest memory or of a NIC register. */
import { describeIoreq } from '../device-model/ioreq.ts';
import type { PciDevice } from '../devices/pci/pci-device.ts';
import type { Position } from '../machine/state/machine-state.ts';
import { readingOf } from './registers.ts';
import type { Timeline } from './timeline.ts';

export interface Writer {
  /** `guest`: an instruction. `device model`: DMA or a chip's own doing. `hypervisor`: neither; the domain builder at the beginning. */
  readonly by: 'guest' | 'device model' | 'hypervisor' | 'domain builder';
  /** Where: before the instruction, or within the exit. */
  readonly position: Position;
  /** One clause more: address of the instruction, or the request in service. */
  readonly text: string;
}

interface Hit {
  readonly by: 'guest' | 'device';
  readonly position: Position;
  /** Hits of the guest so far, this one included. */
  readonly guestHits: number;
  readonly text: string;
}

/** The last write of any of these bytes before the place where the run stands. The run stands there again afterwards. */
export function whoWroteMemory(timeline: Timeline, gpa: number, length: number): Writer {
  const here = timeline.position;
  const { machine } = timeline;
  const read = (): string => {
    let text = '';
    for (let i = 0; i < length; i++) {
      const at = machine.p2m.ramAddress(gpa + i);
      text += at < 0 ? '-' : String.fromCharCode(machine.memory.u8[at]!);
    }
    return text;
  };
  const found = timeline.search<{ hit: Hit | undefined; from: Position }>(here, () => {
    const from = timeline.position;
    const before = read();
    let hit: Hit | undefined;
    let guestHits = 0;
    timeline.setWatch({
      ranges: [{ gpa, length, kind: 'write' }],
      hit: ({ by }) => {
        if (by === 'guest') guestHits++;
        const { server } = machine.deviceModel;
        hit = { by, position: timeline.position, guestHits, text: server.inService ? describeIoreq(server.current) : '' };
        return false;
      },
    });
    return () => {
      timeline.setWatch(undefined);
      return hit !== undefined || read() !== before ? { hit, from } : undefined;
    };
  });
  const writer = ((): Writer => {
    if (found === undefined)
      return { by: 'domain builder', position: here, text: 'nothing has written there since the domain was built' };
    const { hit, from } = found;
    if (hit === undefined)
      return {
        by: 'hypervisor',
        position: from,
        text: `between instruction ${from.instructions} and here, or the processor's page walk`,
      };
    if (hit.by === 'device')
      return {
        by: 'device model',
        position: hit.position,
        text:
          hit.text === ''
            ? `by DMA, on its own, after exit ${hit.position.exits}`
            : `by DMA, serving exit ${hit.position.exits} (${hit.text})`,
      };
    const instruction = timeline.pinpoint(hit.guestHits, from, [{ gpa, length, kind: 'write' }]);
    timeline.goTo({ instructions: instruction });
    const { rip } = machine.hvm.engine.registers;
    return { by: 'guest', position: timeline.position, text: `the instruction at 0x${rip.toString(16)}` };
  })();
  timeline.goTo(here);
  return writer;
}

/** The last change of a NIC's register. */
export function whoWroteRegister(timeline: Timeline, nic: number, name: string): Writer | undefined {
  const here = timeline.position;
  const { machine } = timeline;
  const device = machine.deviceModel.nics[nic]?.nic as unknown as PciDevice | undefined;
  const index = (device && readingOf(device.name))?.registers.findIndex((register) => register.name === name) ?? -1;
  if (device === undefined || index < 0) return undefined;
  const value = (): number => (device.save() as { registers?: Uint32Array }).registers?.[index] ?? 0;
  const changed = timeline.search<{ position: Position; text: string }>(here, () => {
    let last = value();
    let found: { position: Position; text: string } | undefined;
    // Every request may change it, and so may frames and timers between two exits.
    const stop = timeline.observe(() => {
      const now = value();
      if (now === last) return;
      last = now;
      const { server } = machine.deviceModel;
      found = {
        position: timeline.position,
        text: `to 0x${now.toString(16)}; the last request was ${describeIoreq(server.current)}`,
      };
    });
    return () => {
      stop();
      return found;
    };
  });
  timeline.goTo(here);
  if (changed === undefined)
    return { by: 'domain builder', position: here, text: 'it has not changed since the machine was switched on' };
  return { by: 'device model', position: changed.position, text: `serving exit ${changed.position.exits}, ${changed.text}` };
}
