import { describe, expect, it } from 'vitest';
import { parseDmLine } from './dm-lines.ts';
import { readDmLog } from './dm-log.ts';

const EVENTS =
  `152@1795363992.414692:handle_ioreq I/O=0x7ffcc5562890 type=1 dir=0 df=0 ptr=0 port=0xf10000d9 data=0x40 count=1 size=1
152@1795363992.415232:handle_ioreq_write I/O=0x7ffcc5562890 write type=1 df=0 ptr=0 port=0xf10000d9 data=0x40 count=1 size=1
152@1795363992.415464:memory_region_ops_write cpu -1 mr 0x5622132c1ca0 addr 0xc1d9 value 0x40 size 1 name 'rtl8139'
152@1795363992.415571:xen_map_cache want 0x645d4a0
152@1795363992.415600:xen_remap_bucket index 0x64
152@1795363992.415652:xen_map_cache_return 0x7fa57762f4a0
152@1795363992.425529:handle_ioreq I/O=0x7ffcc5562890 type=1 dir=1 df=0 ptr=0 port=0xf100003c data=0x0 count=1 size=2
152@1795363992.425907:handle_ioreq_read I/O=0x7ffcc5562890 read type=1 df=0 ptr=0 port=0xf100003c data=0x80ac count=1 size=2
152@1795363992.500000:handle_ioreq I/O=0x7ffcc5562890 type=2 dir=0 df=0 ptr=0 port=0x1800000004 data=0x17 count=1 size=2
152@1795363992.500100:pci_cfg_write rtl8139 00:03.0 @0x4 <- 0x17`.split('\n');

describe('device-model log', () => {
  it('groups trace events into requests', async () => {
    const log = await readDmLog(EVENTS, 'dm.log');
    expect(log.requests).toHaveLength(3);
    const [doorbell, mask, config] = log.requests;
    expect(doorbell).toMatchObject({ dir: 'write', data: 0x40n, endLine: 3, region: { name: 'rtl8139', addr: 0xc1d9 } });
    expect(doorbell!.request).toMatchObject({ type: 1, addr: 0xf10000d9, size: 1, timeUs: 1795363992414692 });
    expect(doorbell!.dma).toEqual([
      {
        gpa: 0x645d4a0,
        pointer: '7fa57762f4a0',
        remapIndex: 0x64,
        timeUs: 1795363992415571,
        returnTimeUs: 1795363992415652,
        line: 4,
      },
    ]);
    expect(mask).toMatchObject({ dir: 'read', data: 0x80acn, endLine: 8 });
    expect(log.configs).toMatchObject([{ name: 'rtl8139', bdf: '00:03.0', reg: 4, value: 0x17 }]);
    expect(config!.request.addr).toBe(0x1800000004);
  });

  it('reads the older form, and takes the direction from the chip line', async () => {
    const log = await readDmLog(
      [
        '\t\txen: I/O request: 1, ptr: 0, port: f2051020, data: d4e6c400, count: 1, size: 4',
        '\t\tRTL8139: TxAddr write offset=0x0 val=0xd4e6c400',
      ],
      'mail',
    );
    expect(log.requests[0]).toMatchObject({
      dir: 'write',
      data: 0xd4e6c400n,
      request: { form: 'plain', type: 1, addr: 0xf2051020, size: 4, timeUs: undefined },
    });
    expect(log.requests[0]!.chip[0]).toMatchObject({ chip: 'rtl8139', text: 'TxAddr write offset=0x0 val=0xd4e6c400', line: 2 });
  });

  it('says which clock its own header names', async () => {
    const log = await readDmLog(['# device-model log, clock: modelled', ...EVENTS], 'dm.log');
    expect(log.clock).toBe('modelled');
    expect(log.tsc).toBeUndefined();
    const whole = await readDmLog(
      ['# device-model log, clock: measured, TSC 0 at 1704067200.000250, 1000000000 Hz', ...EVENTS],
      'dm.log',
    );
    expect(whole).toMatchObject({ clock: 'measured', tsc: { line: 1, zeroUs: 1_704_067_200_000_250, hz: 1e9 } });
  });

  it('counts lines of no known form and refuses a file without any', async () => {
    expect(parseDmLine('1@2.3:handle_ioreq I/O=0x1 type=1 dir=7', 1)).toMatchObject({ kind: 'other', event: 'handle_ioreq' });
    expect(parseDmLine('x'.repeat(100_000), 1).kind).toBe('other');
    await expect(readDmLog(['hello', 'world'], 'dm.log')).rejects.toThrow(/dm\.log: none of 2 lines/);
  });
});
