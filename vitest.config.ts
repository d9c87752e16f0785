import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
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
