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

/** What every version since 2.6 prints behind its stamp. */
const BODY = 'handle_ioreq I/O=0x7ffcc5562890 type=1 dir=0 df=0 ptr=0 port=0xf10000d9 data=0x40 count=1 size=1';

describe('a line of every version of QEMU', () => {
  const us = Date.UTC(2026, 10, 19, 16, 13, 6) * 1000 + 317_230;
  it.each([
    ['without stamps', BODY, undefined],
    ['up to 10.1, with -msg timestamp=on', `4711@${us / 1e6}:${BODY}`, us],
    ['a blank behind the stamp', `4711@1795104786.317230: ${BODY}`, us],
    ['nanoseconds', `4711@1795104786.317230999:${BODY}`, us],
    ['10.2 and later', `2026-11-19T16:13:06.317230Z ${BODY}`, us],
    ['with the zone of the host', `2026-11-19T17:13:06.317230+01:00 ${BODY}`, us],
    ['with the zone, without a colon', `2026-11-19T08:43:06.317230-0730 ${BODY}`, us],
    ['a blank for the T', `2026-11-19 16:13:06.317230 ${BODY}`, us],
    ['milliseconds', `2026-11-19T16:13:06.317Z ${BODY}`, us - 230],
    ['with the name of the guest', `2026-11-19T16:13:06.317230Z [winlab] ${BODY}`, us],
    [
      'with the names of guest, program and thread',
      `2026-11-19T16:13:06.317230Z [winlab] qemu-system-i386(4711:main): ${BODY}`,
      us,
    ],
    ['with the name of the program', `2026-11-19T16:13:06.317230Z qemu-system-i386: ${BODY}`, us],
  ])('%s', (_, text, timeUs) => {
    expect(parseDmLine(text, 7)).toMatchObject({
      kind: 'request',
      line: 7,
      dir: 'write',
      addr: 0xf10000d9,
      data: 0x40n,
      size: 1,
      timeUs,
    });
  });

  it.each([
    [
      "memory_region_ops_write cpu 0 mr 0x55d0c0de1000 addr 0xf4021037 value 0x10 size 1 name 'rtl8139'",
      { kind: 'region', name: 'rtl8139' },
    ],
    ['memory_region_ops_read cpu -1 mr 0x55d0c0de1000 addr 0xf4021037 value 0x10 size 1', { kind: 'region', name: '' }],
    ['pci_cfg_write rtl8139 04:0 @0x10 <- 0xffffffff', { kind: 'config', bdf: '04:0' }],
    ['pci_cfg_write e1000 0000:00:04.0 @0x10 <- 0xffffffff', { kind: 'config', bdf: '0000:00:04.0' }],
    ['pci_update_mappings_add d=0x55d0c0de1000 00:04.0 1,0xf1000000+0x100', { kind: 'mapping', bar: 1, base: 0xf1000000 }],
    ['pci_update_mappings_add e1000 00:04.0 0,0xf1000000+0x20000', { kind: 'mapping', name: 'e1000', size: 0x20000 }],
    ['xen_map_cache want 0x645d4a0', { kind: 'mapCache', gpa: 0x645d4a0 }],
    ['xen_map_cache want 645d4a0', { kind: 'mapCache', gpa: 0x645d4a0 }],
    ['RTL8139: C+ TxPoll write(b) val=0x40', { kind: 'chip', chip: 'rtl8139' }],
    ['e1000: set_ics 2, ICR 0, IMR 0', { kind: 'chip', chip: 'e1000', text: 'set_ics 2, ICR 0, IMR 0' }],
    ['NE2000: write addr=0x7 val=ff', { kind: 'chip', chip: 'ne2000' }],
    ['PCNET: pcnet_receive size=60', { kind: 'chip', chip: 'pcnet' }],
    [
      'pcnet_ioport_read opaque=0x55 addr=0x10 size=2',
      { kind: 'chip', chip: 'pcnet', text: 'ioport_read opaque=0x55 addr=0x10 size=2' },
    ],
    ['e1000e_core_write Write to register 0x38, 4 byte(s), value: 0x8100', { kind: 'chip', chip: 'e1000e' }],
    ['e1000x_rx_can_recv_disabled link_up: 1, rx_enabled 0, pci_master 1', { kind: 'chip', chip: 'e1000' }],
    ['ne2000_ioport_write addr 0x07 val 0xff', { kind: 'chip', chip: 'ne2000' }],
    ['xen_platform_log xen platform: hello', { kind: 'other', event: 'xen_platform_log' }],
  ])('%s: under every stamp', (text, expected) => {
    for (const stamp of ['', '4711@1700000100.000100:', '2026-11-19T16:13:06.317230Z '])
      expect(parseDmLine(stamp + text, 1)).toMatchObject(expected);
  });

  it.each([
    [
      'only accesses of regions',
      ["4711@1700000100.000100:memory_region_ops_write cpu 0 mr 0x55d0c0de1000 addr 0xf4021037 value 0x10 size 1 name 'rtl8139'"],
      /^dm\.log: its lines are trace events \(memory_region_ops\), but no request line \(handle_ioreq\) is among them/,
    ],
    ['other events', ['4711@1700000100.000500:xen_platform_log hello'], /trace events \(xen_platform_log\), but no request line/],
    ['the header alone', ['# device-model log, clock: modelled'], /a device-model log without a request/],
    ['prose', ['hello', 'world'], /none of 2 lines is a device model's trace event or debug line/],
    ['nothing', [], /empty; expected a device-model log/],
  ])('a log of %s is called what it is', async (_, log, message) => {
    await expect(readDmLog(log, 'dm.log')).rejects.toThrow(message);
  });

  it('takes off what a system log or a mail put around its lines', async () => {
    for (const around of [
      '> ',
      'Nov 19 16:13:06 dom0 qemu-dm[4711]: ',
      '2026-11-19T16:13:06+0100 dom0 qemu[1]: ',
      '  12\t',
      '+',
    ]) {
      const log = await readDmLog(
        EVENTS.map((line) => around + line),
        'dm.log',
      );
      expect(log.requests).toHaveLength(3);
      expect(log.requests[0]!.request.timeUs).toBe(1795363992414692);
    }
  });
});
