import { describe, expect, it } from 'vitest';
import { driverStory } from './driver.ts';
import { findDevices, windowAt } from './devices.ts';
import { readDmLog } from '../sources/dm-log.ts';
import { IoBuilder, type IoAccess } from './io.ts';
import { explainPlatform, platformDevice } from './platform.ts';
import { parseXenalyzeLine } from '../sources/xenalyze-text.ts';

/** Port accesses as a trace shows them: `w cf8 80001810`. */
function ports(...lines: string[]): IoAccess[] {
  const builder = new IoBuilder();
  const all: IoAccess[] = [];
  lines.forEach((line, i) => {
    const [dir, port, data] = line.split(' ');
    for (const text of [
      `] 0.00000${i}000 x d1v0 vmexit exit_reason IO_INSTRUCTION eip 1000`,
      ` 0.00000${i}000 x d1v0 io ${dir === 'w' ? 'write' : 'read'} port ${port} val ${data}`,
      `] 0.00000${i}500 x d1v0 vmentry cycles 1 !`,
    ])
      all.push(...(builder.add(parseXenalyzeLine(text, 3 * i + 1)!) ?? []));
  });
  return all;
}

describe('where a chip lies', () => {
  it('from configuration writes in the log, sizing passed over, I/O told from memory by the register', async () => {
    const log = await readDmLog(
      [
        '1@1.000001:pci_cfg_write rtl8139 00:03.0 @0x10 <- 0xffffffff',
        '1@1.000002:pci_cfg_write rtl8139 00:03.0 @0x10 <- 0xc000',
        '1@1.000003:pci_cfg_write rtl8139 00:03.0 @0x14 <- 0xffffff00',
        '1@1.000004:pci_cfg_write rtl8139 00:03.0 @0x14 <- 0xf0000000',
        '1@1.000005:pci_cfg_write rtl8139 00:03.0 @0x30 <- 0xf1000000',
        '1@1.000006:pci_update_mappings_add rtl8139 00:03.0 1,0xf0000000+0x100',
      ],
      'dm.log',
    );
    const windows = findDevices({ log });
    expect(windows.map((w) => [w.space, w.base, w.found.strength, w.found.refs.map((r) => r.at)])).toEqual([
      ['pio', 0xc000, 'proven', [2]],
      ['mmio', 0xf0000000, 'proven', [4, 6]],
    ]);
  });

  it('from ports 0xcf8 and 0xcfc in the trace, once the card has told its ID', () => {
    const writes = ['w cf8 80001814', 'w cfc f2050000'];
    expect(findDevices({ accesses: ports(...writes) })).toEqual([]);
    const [window] = findDevices({ accesses: ports('w cf8 80001800', 'r cfc 813910ec', ...writes) });
    expect(window).toMatchObject({ space: 'mmio', base: 0xf2050000, found: { strength: 'proven' } });
  });

  it("from the guest's console: sysfs resources, kernel lines, /proc/iomem", () => {
    const bases = (console: string[]): unknown[] => findDevices({ console }).map((w) => [w.space, w.base]);
    expect(
      bases([
        'pci 0000:00:03.0 0x10ec 0x8139',
        '0x000000000000c100 0x000000000000c1ff 0x0000000000040101',
        '0x00000000f1000000 0x00000000f10000ff 0x0000000000040200',
      ]),
    ).toEqual([
      ['pio', 0xc100],
      ['mmio', 0xf1000000],
    ]);
    expect(
      bases([
        '[    1.2] pci 0000:00:03.0: [10ec:8139] type 00',
        '[    1.3] pci 0000:00:03.0: reg 0x14: [mem 0xf1000000-0xf10000ff]',
      ]),
    ).toEqual([['mmio', 0xf1000000]]);
    expect(bases(['    f1000000-f10000ff : 8139too'])).toEqual([['mmio', 0xf1000000]]);
    expect(bases(['pci 0000:00:02.0 0x5853 0x0001', '0x00000000f0000000 0x00000000f0ffffff 0x0000000000042208'])).toEqual([]);
  });

  it('from the option', () => {
    expect(
      findDevices({ options: ['rtl8139@f1000000', 'rtl8139@0xc100'] }).map((w) => [w.space, w.base, w.found.refs[0]!.file]),
    ).toEqual([
      ['mmio', 0xf1000000, 'option'],
      ['pio', 0xc100, 'option'],
    ]);
  });
});

describe('what an access means', () => {
  const [window] = findDevices({ options: ['rtl8139@f1000000'] });

  it('names registers by mode', () => {
    const name = (addr: number, width: number | undefined, mode?: string): string[] =>
      window!.chip
        .explain(window!.block, { offset: addr - window!.base, width: width ?? 2, value: 0x40, mode, dir: 'read' })
        .map((r) => `${r.name} ${r.fields}`.trim());
    expect(name(0xf10000d9, 1)).toEqual(['TxPoll NPQ']);
    expect(name(0xf1000020, 4, 'C')).toEqual(['TxAddr0 0x40']);
    expect(name(0xf1000020, 4, 'C+')).toEqual(['TxRingAddr 0x40']);
    expect(name(0xf100003e, undefined)).toEqual(['IntrStatus RxFIFOOver']);
    expect(windowAt([window!], 'mmio', 0xf1000100)).toBeUndefined();
    const story = driverStory({ accesses: [], log: undefined, pairing: undefined, windows: [window!] });
    expect(story.modeOf(window!).strength).toBe('unknown');
  });

  it('names what every PC has, and whose it is', () => {
    const names = (space: 'mmio' | 'pio', addr: number, data = 0n): unknown => {
      const d = platformDevice(space, addr);
      return d && [d.name, d.internal, ...explainPlatform(d, addr, undefined, data).map((r) => r.name)];
    };
    expect(names('mmio', 0xfee000b0)).toEqual(['LAPIC', true, 'APIC_EOI']);
    expect(names('mmio', 0xfed000f0)).toEqual(['HPET', true, 'HPET_COUNTER']);
    expect(names('pio', 0x3fd)).toEqual(['16550A', false, 'LSR']);
    expect(names('pio', 0xcf8)).toEqual(['440FX', false, 'CONFADD']);
    expect(names('pio', 0x61)).toEqual(['8254', true, 'NMI_SC']);
    expect(names('pio', 0x70)).toEqual(['RTC', true, 'RTC_INDEX']);
    expect(names('pio', 0xb004)).toEqual(['PIIX4_PM', false, 'PM1a_CNT']);
    expect(names('mmio', 0xf1000000)).toBeUndefined();
  });
});
