import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** One change to one source file, made while it is loaded: scripts/mutations.mjs asks for it. */
const mutation =
  process.env['MUTATION'] === undefined
    ? undefined
    : (JSON.parse(process.env['MUTATION']) as { file: string; find: string; replace: string });

export default defineConfig({
  plugins:
    mutation === undefined
      ? []
      : [
          {
            name: 'mutation',
            enforce: 'pre',
            transform: (code: string, id: string) =>
              id.endsWith(`/${mutation.file}`) ? code.replace(mutation.find, () => mutation.replace) : undefined,
          },
        ],
  test: {
    include: ['src/**/*.spec.ts', 'test/**/*.spec.ts'],
    // A limit ends a test that hangs. Nothing else is decided by time: a busy machine takes many times longer than a quiet one.
    testTimeout: 900_000,
    hookTimeout: 900_000,
    globalSetup: 'test/machine.ts',
    pool: 'forks',
    // Vitest would leave one processor to itself, which has next to nothing to do.
    maxWorkers: availableParallelism(),
  },
});
