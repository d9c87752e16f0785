import { describe, expect, it } from 'vitest';
import { IoreqType } from '../abi/ioreq.ts';
import { xenIoreqServerCreate } from '../abi/dm-log-lines.ts';
import { hex64, whole64 } from '../base/hex.ts';
import { DmLog } from './log.ts';
import { HandClock } from './testing/fake-hypervisor.ts';
import { CplusDriver } from './testing/cplus-driver.ts';
import { NIC_MMIO, setUp } from './testing/set-up.ts';

/**
 * Lines of a device model's log captured under Xen 4.17.7 with QEMU 7.2 (8139cp load and ping), one of each event:
 * pid, pointers, addresses and data differ from run to run, everything else is the format.
 */
const captured = `152@1795363983.240749:handle_ioreq I/O=0x7ffcc5562890 type=0 dir=0 df=0 ptr=0 port=0x3f9 data=0x7 count=1 size=1
152@1795363983.242335:handle_ioreq_write I/O=0x7ffcc5562890 write type=0 df=0 ptr=0 port=0x3f9 data=0x7 count=1 size=1
152@1795363983.242644:cpu_ioreq_pio I/O=0x7ffcc5562890 pio dir=0 df=0 ptr=0 port=0x3f9 data=0x7 count=1 size=1
152@1795363983.243490:cpu_ioreq_pio_write_reg I/O=0x7ffcc5562890 pio write reg data=0x7 port=0x3f9 size=1
152@1795363983.243804:memory_region_ops_write cpu -1 mr 0x5622129a6240 addr 0x3f9 value 0x7 size 1 name 'serial'
152@1795363983.250093:handle_ioreq I/O=0x7ffcc5562890 type=0 dir=1 df=0 ptr=0 port=0x3fa data=0x0 count=1 size=1
152@1795363983.250380:cpu_ioreq_pio I/O=0x7ffcc5562890 pio dir=1 df=0 ptr=0 port=0x3fa data=0x0 count=1 size=1
152@1795363983.250920:memory_region_ops_read cpu -1 mr 0x5622129a6240 addr 0x3fa value 0xc2 size 1 name 'serial'
152@1795363983.251192:cpu_ioreq_pio_read_reg I/O=0x7ffcc5562890 pio read reg data=0xc2 port=0x3fa size=1
152@1795363983.251400:handle_ioreq_read I/O=0x7ffcc5562890 read type=0 df=0 ptr=0 port=0x3fa data=0xc2 count=1 size=1
152@1795363983.705231:handle_ioreq I/O=0x7ffcc5562890 type=0 dir=0 df=0 ptr=0 port=0xcf8 data=0x80001804 count=1 size=4
152@1795363983.705463:handle_ioreq_write I/O=0x7ffcc5562890 write type=0 df=0 ptr=0 port=0xcf8 data=0x80001804 count=1 size=4
152@1795363983.705571:cpu_ioreq_pio I/O=0x7ffcc5562890 pio dir=0 df=0 ptr=0 port=0xcf8 data=0x80001804 count=1 size=4
152@1795363983.705654:cpu_ioreq_pio_write_reg I/O=0x7ffcc5562890 pio write reg data=0x80001804 port=0xcf8 size=4
152@1795363983.705784:memory_region_ops_write cpu -1 mr 0x562212a3d400 addr 0xcf8 value 0x80001804 size 4 name 'pci-conf-idx'
152@1795363983.712731:handle_ioreq I/O=0x7ffcc5562890 type=2 dir=1 df=0 ptr=0 port=0x1800000004 data=0x0 count=1 size=2
152@1795363983.713057:pci_cfg_read rtl8139 00:03.0 @0x4 -> 0x7
152@1795363983.713363:cpu_ioreq_config_read I/O=0x7ffcc5562890 sbdf=0x18 reg=4 size=2 data=0x7
152@1795363983.713605:handle_ioreq_read I/O=0x7ffcc5562890 read type=2 df=0 ptr=0 port=0x1800000004 data=0x7 count=1 size=2
152@1795363983.940109:handle_ioreq I/O=0x7ffcc5562890 type=2 dir=0 df=0 ptr=0 port=0x180000000c data=0x10 count=1 size=1
152@1795363983.940435:handle_ioreq_write I/O=0x7ffcc5562890 write type=2 df=0 ptr=0 port=0x180000000c data=0x10 count=1 size=1
152@1795363983.940667:cpu_ioreq_config_write I/O=0x7ffcc5562890 sbdf=0x18 reg=12 size=1 data=0x10
152@1795363983.940947:pci_cfg_write rtl8139 00:03.0 @0xc <- 0x10
152@1795363984.331501:handle_ioreq I/O=0x7ffcc5562890 type=1 dir=0 df=0 ptr=0 port=0xf100003c data=0x0 count=1 size=2
152@1795363984.331761:handle_ioreq_write I/O=0x7ffcc5562890 write type=1 df=0 ptr=0 port=0xf100003c data=0x0 count=1 size=2
152@1795363984.331943:cpu_ioreq_move I/O=0x7ffcc5562890 copy dir=0 df=0 ptr=0 port=0xf100003c data=0x0 count=1 size=2
152@1795363984.332113:memory_region_ops_write cpu -1 mr 0x5622132c1ca0 addr 0xc13c value 0x0 size 2 name 'rtl8139'
152@1795363984.344693:handle_ioreq I/O=0x7ffcc5562890 type=1 dir=1 df=0 ptr=0 port=0xf100003c data=0x0 count=1 size=2
152@1795363984.344963:cpu_ioreq_move I/O=0x7ffcc5562890 copy dir=1 df=0 ptr=0 port=0xf100003c data=0x0 count=1 size=2
152@1795363984.345485:memory_region_ops_read cpu -1 mr 0x5622132c1ca0 addr 0xc13c value 0x0 size 2 name 'rtl8139'
152@1795363984.345876:handle_ioreq_read I/O=0x7ffcc5562890 read type=1 df=0 ptr=0 port=0xf100003c data=0x0 count=1 size=2`;

/** What differs between the capture's machine and this one. */
const common = (line: string): string =>
  line
    .replace(/^\d+@\d+\.\d{6,9}:/, '')
    .replace(/I\/O=0x\w+/, 'I/O=P')
    .replace(/mr 0x\w+/, 'mr P')
    .replace(/0xf10000/g, '0xf00000')
    .replace(/addr 0xc1/, 'addr 0xc0')
    .replace(/ name 'RTL8139'/, " name 'rtl8139'");

describe('device-model log', () => {
  it('writes the same lines as QEMU 7.2 under Xen for the same accesses', () => {
    const { hv, logged } = setUp({ logForm: 'trace' });
    hv.out(0x3f9, 1, 0); // the capture begins with these interrupts enabled already
    hv.out(0x3fa, 1, 1);
    hv.out(0x3f9, 1, 2);
    hv.out(0x3f9, 1, 0);
    const begin = logged().length;
    hv.out(0x3f9, 1, 7);
    hv.in(0x3fa, 1);
    hv.out(0xcf8, 4, 0x80001804);
    hv.access({ type: IoreqType.pciConfig, addr: 0x1800000004, size: 2 });
    hv.access({ type: IoreqType.pciConfig, addr: 0x180000000c, size: 1, write: 0x10 });
    hv.write(NIC_MMIO + 0x3c, 2, 0);
    hv.read(NIC_MMIO + 0x3c, 2);
    const ours = logged()
      .slice(begin)
      .filter((line) => !line.startsWith('RTL8139:'))
      .map(common);
    expect(ours).toEqual(captured.split('\n').map(common));
  });

  it('tells of server, ranges and BARs as QEMU does', () => {
    const { logged } = setUp({ logForm: 'trace' });
    const lines = logged().filter((line) => !line.startsWith('RTL8139:'));
    expect(lines[0]).toBe('# device-model log, clock: modelled, TSC 0 at 1700000000.000000, 1000000000 Hz');
    expect(lines[1]).toBe('xen_ioreq_server_create id: 0');
    expect(lines).toContain('xen_map_pcidev id: 0 bdf: 00.03.00');
    expect(lines).toContain('xen_map_mmio_range id: 0 start: 0xf0000000 end: 0xf00000ff');
    expect(lines).toContain('pci_update_mappings_add rtl8139 00:03.0 1,0xf0000000+0x100');
    expect(lines.at(-2)).toBe('xen_ioreq_server_state id: 0: enable: 1');
    expect(lines.at(-1)).toMatch(
      /^# ioreq server 0: vCPU 0 has slot 0 of the synchronous page, machine frame 0x[0-9a-f]+, port \d+$/,
    );
  });

  it('prints time as seconds and nanoseconds since 1970', () => {
    const clock = new HandClock();
    const lines: string[] = [];
    const log = new DmLog({ form: 'trace', clock, pid: 7, sink: (text) => lines.push(text) });
    clock.ns = 1_000_007_999;
    log.put(xenIoreqServerCreate, { id: 1 });
    clock.ns = 1_999_999_999;
    log.put(xenIoreqServerCreate, { id: 2 });
    clock.ns = 2_000_000_000;
    log.put(xenIoreqServerCreate, { id: 3 });
    log.flush();
    expect(lines).toEqual([
      '# device-model log, clock: modelled, TSC 0 at 1700000000.000000, 1000000000 Hz\n7@1700000001.000007999:xen_ioreq_server_create id: 1\n7@1700000001.999999999:xen_ioreq_server_create id: 2\n7@1700000002.000000000:xen_ioreq_server_create id: 3\n',
    ]);
  });

  it("the classic form has one line a request and the chip's own lines", () => {
    const { hv, logged } = setUp({ logForm: 'classic' });
    new CplusDriver(hv, NIC_MMIO).start();
    const lines = logged();
    expect(lines).toContain('xen: I/O request: 1, ptr: 0, port: f0000020, data: 100000, count: 1, size: 4');
    expect(lines.some((line) => line.startsWith('RTL8139: '))).toBe(true);
    expect(lines.filter((line) => !/^(# |xen: I\/O request: |RTL8139: )/.test(line))).toEqual([]);
  });

  it('forms no text when there is no log', () => {
    const { hv, dm } = setUp();
    expect(dm.ports.probe).toBeUndefined();
    expect(dm.memory.probe).toBeUndefined();
    expect(dm.pci.probe).toBeUndefined();
    new CplusDriver(hv, NIC_MMIO).start();
  });

  it('joins the halves of 64-bit values', () => {
    expect([whole64(5, 0), whole64(0xffffffff, 0x80000000)]).toEqual([5, 0x80000000ffffffffn]);
    expect(hex64(0, 0)).toBe('0');
    expect(hex64(0xd4e6c400, 0)).toBe('d4e6c400');
    expect(hex64(4, 0x18)).toBe('1800000004');
    expect(hex64(0xffffffff, 0xffffffff)).toBe('ffffffffffffffff');
  });
});
