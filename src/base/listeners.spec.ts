import { expect, it } from 'vitest';
import { Listeners } from './listeners.ts';

it('every listener hears every event, in the order of joining', () => {
  const heard: string[] = [];
  const changes = new Listeners<number>();
  changes.call(0);
  changes.add((n) => heard.push(`first ${n}`));
  changes.call(1);
  changes.add((n) => heard.push(`second ${n}`));
  changes.call(2);
  expect(heard).toEqual(['first 1', 'first 2', 'second 2']);
});
