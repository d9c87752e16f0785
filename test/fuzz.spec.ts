/** A short run of each fuzz target, and proof that the fuzzer sees what it should. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { instrument } from './fuzz/instrument.mjs';
import { PATIENCE_MS } from './needs.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

function fuzz(args: readonly string[], mutation?: object) {
  const env = { ...process.env, ...(mutation ? { MUTATION: JSON.stringify(mutation) } : {}) };
  const run = spawnSync(process.execPath, ['scripts/fuzz.mjs', '--json', ...args], {
    cwd: root,
    env,
    encoding: 'utf8',
    timeout: PATIENCE_MS,
  });
  if (!run.stdout) throw new Error(run.stderr);
  return {
    status: run.status,
    report: JSON.parse(run.stdout) as {
      target: string;
      executions: number;
      edges: number;
      findings: { error: string; input: string }[];
    }[],
  };
}

describe('fuzzer', () => {
  it('instruments every kind of branch and leaves the meaning alone', () => {
    const source =
      'const f = (a, b) => { if (a) return b ? 1 : (2, 3); else for (const x of [1]) a ||= x && (() => 4)(); switch (b) { case 1: return 5; default: } while (!a) a = 1; return a ?? b; }; f;';
    const hits: number[] = [];
    globalThis.fuzzEdge = (id) => hits.push(id);
    const { code, branches } = instrument(source, 'x');
    const f = new Function(`return (() => { ${code.replace(/ f;$/, ' return f;')} })()`)() as (a: number, b: number) => number;
    expect([f(1, 1), f(1, 0), f(0, 1), f(0, 0)]).toEqual([1, 3, 5, 4]);
    expect(branches).toBeGreaterThanOrEqual(9);
    expect(new Set(hits).size).toBeGreaterThanOrEqual(8);
  });

  for (const [target, edges] of [
    ['e1000', 600],
    ['rtl8139', 780],
    ['ne2k_pci', 460],
    ['pcnet', 800],
    ['ioreq', 800],
    ['trace', 1800],
  ] as const) {
    it(`${target}: finds nothing in a short run over its corpus`, () => {
      const { status, report } = fuzz(['--executions', '1000', target]);
      expect(report.flatMap((r) => r.findings)).toEqual([]);
      expect(status).toBe(0);
      expect(report[0]!.edges).toBeGreaterThan(edges);
    });
  }

  const missing = [
    [
      'e1000',
      'goes on differently',
      {
        file: 'src/devices/nic/e1000/core.ts',
        find: 'this.restorePci(pci);\n    this.armTimers();',
        replace: 'this.restorePci(pci);',
      },
    ],
    [
      'rtl8139',
      'DMA with bus mastering off',
      { file: 'src/devices/pci/pci-device.ts', find: 'return this.busMaster && this.slot', replace: 'return this.slot' },
    ],
    ['ne2k_pci', 'register', { file: 'src/devices/nic/ne2k_pci/core.ts', find: 'if (value > most) return;', replace: '' }],
    [
      'pcnet',
      'frame of 4096 bytes',
      {
        file: 'src/devices/nic/pcnet/transmit.ts',
        find: 'if (this.position + count > BUFFER_SIZE - FCS_SIZE) {',
        replace: 'if (false) {',
      },
    ],
    [
      'ioreq',
      'was given back and written',
      { file: 'src/device-model/ioreq.ts', find: 'this.t.mapCache.invalidate();', replace: '' },
    ],
  ] as const;
  for (const [target, error, mutation] of missing) {
    it(`${target}: finds a guard that is missing: ${error}`, () => {
      const { status, report } = fuzz(['--executions', '1000', target], mutation);
      expect(status).toBe(1);
      expect(report[0]!.findings.map((f) => f.error).join()).toContain(error);
    });
  }
});
