/** A PC's spaces and bus with nothing behind them but a byte array as RAM, for specs. */
import type { DeviceClock, DmaBus } from '../interfaces.ts';
import { IoSpace } from '../io-space.ts';
import { PciBus } from '../pci/bus.ts';

export function pcBus() {
  const ports = new IoSpace('port');
  const memory = new IoSpace('memory');
  const intx: string[] = [];
  const dma: DmaBus = { read: () => false, write: () => false };
  const clock: DeviceClock = { nowNs: () => 0, newTimer: () => ({ arm() {}, cancel() {} }) };
  const bus = new PciBus({
    ports,
    memory,
    dma,
    clock,
    setIntx: (device, pin, level) => intx.push(`${device}.${pin}=${level ? 1 : 0}`),
  });
  return { ports, memory, bus, intx };
}
