import { describe, expect, it } from 'vitest';
import { IoSpace } from './io-space.ts';
import { testDevices } from './test-devices.ts';

const setUp = () => {
  const ports = new IoSpace('port');
  const memory = new IoSpace('memory');
  const events: string[] = [];
  const host = {
    exit: (status: number) => void events.push(`exit ${status}`),
    setIsaIrq: (irq: number, level: boolean) => void events.push(`irq ${irq} ${level}`),
  };
  for (const { space, base, region } of testDevices({ vcpus: 1, memoryBytes: 0x1_2345_0000 }, host))
    (space === 'port' ? ports : memory).add(region, base);
  const fwCfg = (key: number, bytes: number): number[] => {
    ports.write(0x510, 2, key);
    return Array.from({ length: bytes }, () => ports.read(0x511, 1));
  };
  return { ports, memory, events, fwCfg };
};

describe('test devices', () => {
  it('isa-debug-exit: a write of v ends the run with 2v + 1', () => {
    const { ports, events } = setUp();
    ports.write(0xf4, 4, 0);
    ports.write(0xf4, 1, 0x21);
    expect(events).toEqual(['exit 1', 'exit 67']);
  });

  it('fw_cfg: signature, memory, processors; zeros behind an item and for a key it does not have', () => {
    const { fwCfg } = setUp();
    expect(String.fromCharCode(...fwCfg(0, 4))).toBe('QEMU');
    expect(fwCfg(3, 9)).toEqual([0, 0, 0x45, 0x23, 1, 0, 0, 0, 0]);
    expect(fwCfg(5, 2)).toEqual([1, 0]);
    expect(fwCfg(0x7777, 2)).toEqual([0, 0]);
  });

  it('pc-testdev: its port and its memory keep what they are given, in parts of any size', () => {
    const { ports, memory } = setUp();
    ports.write(0xe0, 4, 0x11223344);
    ports.write(0xe1, 1, 0xaa);
    expect(ports.read(0xe0, 4)).toBe(0x1122aa44);
    memory.write(0xff000ffe, 4, 0x89abcdef);
    expect(memory.read(0xff000ffe, 2)).toBe(0xcdef);
  });

  it('pc-testdev: interrupt lines by port, the sixteen of the ISA bus', () => {
    const { ports, events } = setUp();
    ports.write(0x200e, 1, 1);
    ports.write(0x200e, 1, 0);
    ports.write(0x2010, 1, 1);
    expect(events).toEqual(['irq 14 true', 'irq 14 false']);
  });
});
