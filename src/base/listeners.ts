/** The parties that want to hear of one kind of event. Any number may join; each hears every event, in the order of joining. */
export class Listeners<Event = void> {
  private readonly list: ((event: Event) => void)[] = [];

  add(listener: (event: Event) => void): void {
    this.list.push(listener);
  }

  /** Tell every listener. Allocates nothing. */
  call(event: Event): void {
    for (let i = 0; i < this.list.length; i++) this.list[i]!(event);
  }
}
