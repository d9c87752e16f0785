import { analyze, type Analysis } from '../../analyze/index.ts';
import { openTrace } from '../../trace/index.ts';
import type { Trace } from '../../trace/index.ts';
import { captureFile, CAPTURE_HZ } from '../../trace/testing/fixtures.ts';
import { parseCpuHz } from '../../trace/index.ts';
import { startOf } from '../perfetto.ts';
import type { HostOfTrace } from '../rows.ts';

/** The capture of a real host with everything that goes with it. */
export async function openCapture(): Promise<{ trace: Trace; analysis: Analysis; who: HostOfTrace }> {
  const name = 'rtl8139-8139cp-ping';
  const lines = (file: string): string[] => new TextDecoder().decode(captureFile(name, file)).split('\n');
  const trace = await openTrace(captureFile(name, 'trace.bin'), { cpuHz: parseCpuHz(CAPTURE_HZ[name]) });
  const analysis = await analyze({
    trace,
    dmLog: lines('qemu-dm.log'),
    pcap: captureFile(name, 'bridge.pcap'),
    console: lines('serial.log'),
  });
  return { trace, analysis, who: { host: 'xen1', file: 'trace.bin', startUs: startOf(analysis)!, startBy: 'device-model log' } };
}
