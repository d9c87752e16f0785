// Runs one test of one spec after another for scripts/mutations.mjs, each with at most one change to one source file.
// What is not changed is transformed once, so that a run costs little more than its test.
// Takes { spec, test, mutation? } as a message and gives { passed, failed } as another.
import { join, resolve } from 'node:path';
import { createVitest } from 'vitest/node';
import { mutate } from '../test/mutate.mjs';

const root = resolve(import.meta.dirname, '..');
let mutation;
const vitest = await createVitest(
  'test',
  { root, watch: false, reporters: [{}], maxWorkers: 1, globalSetup: [] },
  { plugins: [mutate(() => mutation)] },
);

async function run(order) {
  const file = order.mutation && join(root, order.mutation.file);
  mutation = order.mutation;
  if (file) vitest.invalidateFile(file);
  vitest.setGlobalTestNamePattern(order.test.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const specifications = (await vitest.globTestSpecifications([order.spec])).filter(
    ({ moduleId }) => moduleId === join(root, order.spec),
  );
  const { testModules } = await vitest.runTestSpecifications(specifications);
  if (file) vitest.invalidateFile(file);
  // The result lists the specs of earlier runs too.
  const states = testModules
    .filter(({ moduleId }) => moduleId === join(root, order.spec))
    .flatMap((module) => [...module.children.allTests()].map((test) => test.result().state));
  const count = (state) => states.filter((one) => one === state).length;
  return { passed: count('passed'), failed: count('failed') };
}

process.on('message', async (order) => process.send(await run(order)));
process.on('disconnect', () => process.exit());
process.send('ready');
