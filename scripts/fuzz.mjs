// Coverage-guided fuzzing of what a hostile guest reaches: test/fuzz holds the targets, test/fuzz/corpus what past runs
// found worth keeping. Usage: node scripts/fuzz.mjs [--seconds N] [--executions N] [--seed N] [--keep] [--json] [TARGET ...]
// Exit status 1 on a finding; each is printed with its input as hexadecimal bytes.
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { createServer } from 'vite';
import { instrumentPlugin } from '../test/fuzz/instrument.mjs';
import { mutate } from '../test/mutate.mjs';

const targets = {
  e1000: {
    watched: /\/src\/devices\/(nic\/(e1000|ethernet)|pci\/(config-space|pci-device))/,
    module: '/test/fuzz/e1000.ts',
    name: 'e1000Target',
  },
  rtl8139: {
    watched: /\/src\/devices\/(register-file|nic\/|pci\/(config-space|pci-device))/,
    module: '/test/fuzz/rtl8139.ts',
    name: 'rtl8139Target',
  },
  ne2k_pci: {
    watched: /\/src\/devices\/(register-file|nic\/|pci\/(config-space|pci-device))/,
    module: '/test/fuzz/ne2k_pci.ts',
    name: 'ne2kTarget',
  },
  pcnet: {
    watched: /\/src\/devices\/(register-file|nic\/|pci\/(config-space|pci-device))/,
    module: '/test/fuzz/pcnet.ts',
    name: 'pcnetTarget',
  },
  trace: {
    watched: /\/src\/(trace\/(format|records|xenalyze)|analyze\/sources|export\/watch)\//,
    module: '/test/fuzz/trace.ts',
    name: 'traceTarget',
  },
  ioreq: {
    watched: /\/src\/(device-model\/[^/]+\.ts|devices\/(io-space|pci\/bus|nic\/))/,
    module: '/test/fuzz/ioreq.ts',
    name: 'ioreqTarget',
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    executions: { type: 'string' },
    seed: { type: 'string', default: '1' },
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const names = positionals.length ? positionals : Object.keys(targets);
const unknown = names.find((name) => !Object.hasOwn(targets, name));
if (
  unknown !== undefined ||
  !(Number(values.seconds) > 0) ||
  !(Number(values.executions ?? 1) > 0) ||
  !Number.isInteger(Number(values.seed))
) {
  console.error(
    unknown !== undefined
      ? `fuzz: no target '${unknown}'; there are: ${Object.keys(targets).join(', ')}`
      : 'fuzz: --seconds and --executions take a number above 0, --seed a whole number',
  );
  process.exit(2);
}

const root = resolve(import.meta.dirname, '..');
/** One change to one source file: test/fuzz.spec.ts takes a guard out, and the fuzzer has to see it. */
const mutation = process.env.MUTATION && JSON.parse(process.env.MUTATION);
let failed = false;
const report = [];
for (const name of names) {
  const { watched, module, name: exported } = targets[name];
  let branches = 0;
  const server = await createServer({
    root,
    configFile: false,
    logLevel: 'error',
    appType: 'custom',
    server: { middlewareMode: true, watch: null, hmr: false, ws: false },
    optimizeDeps: { noDiscovery: true },
    plugins: [
      mutate(() => mutation),
      instrumentPlugin(
        (file) => watched.test(file) && !file.endsWith('.spec.ts'),
        (n) => (branches += n),
      ),
    ],
  });
  await server.ssrLoadModule('/test/fuzz/engine.ts');
  const target = (await server.ssrLoadModule(module))[exported];
  const { fuzz } = await server.ssrLoadModule('/test/fuzz/main.ts');
  const result = fuzz(target, {
    seconds: values.executions === undefined ? Number(values.seconds) : Infinity,
    executions: Number(values.executions ?? Infinity),
    seed: Number(values.seed),
    keep: values.keep,
    folder: `${root}/test/fuzz/corpus`,
    progress: (line) => process.stderr.write(`${line}\n`),
  });
  await server.close();
  const findings = result.findings.map((f) => ({ error: f.error, input: Buffer.from(f.input).toString('hex') }));
  failed ||= findings.length > 0;
  report.push({
    target: name,
    executions: result.executions,
    branches,
    edges: result.edges,
    corpus: result.corpus.length,
    seconds: result.seconds,
    findings,
  });
  if (!values.json) {
    for (const finding of findings) console.log(`${name}: FINDING ${finding.error}\n  input ${finding.input}`);
    console.log(
      `${name}: ${result.executions} executions in ${result.seconds.toFixed(1)} s, ${result.edges} edges over ${branches} branches, ${result.corpus.length} inputs, ${findings.length} findings`,
    );
  }
}
if (values.json) console.log(JSON.stringify(report, null, 1));
process.exit(failed ? 1 : 0);
