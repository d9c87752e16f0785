/** The live machine's run once more, to go to and fro in. */
import { Machine, openRecording, type Travel, UserError } from '../library/index.ts';
import { answerRequests } from './answer.ts';
import type { Standing, TravelRequest } from './protocol.ts';

let travel: Travel | undefined;

answerRequests<TravelRequest>(async (request) => {
  if (request.kind === 'begin') {
    travel = await new Machine(request.options).travel();
    return standing(travel);
  }
  if (request.kind === 'recording') {
    const opened = await openRecording(request.file, request.name);
    travel = opened.travel;
    return opened.files;
  }
  if (travel === undefined) throw new UserError('the machine was not started');
  switch (request.kind) {
    case 'goTo':
      travel.goToMoment(request.ns);
      return standing(travel);
    case 'step':
      travel.step(request.of, request.direction);
      return standing(travel);
    case 'whoWrote':
      travel.goToMoment(request.ns);
      return travel.whoWrote(request.gpa, request.length);
    case 'whoWroteRegister':
      return travel.whoWroteRegister(request.name);
  }
}, 'the run cannot be gone through');

const standing = (at: Travel): Standing => ({
  at: at.here,
  nic: at.nic(),
  cpu: at.registers(),
  lapic: at.chip('lapic'),
});
