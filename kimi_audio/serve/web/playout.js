/** What is to be heard, in order: it knows of every item how much has been played, and stops with a short fade. */

const FADE_S = 0.012;
const FIRST_WAIT_S = 0.06; // of sound that is collected before playing begins: less than one token of the model
const WAIT_STEP_S = 0.04; // more of it after every gap
const MAX_WAIT_S = 0.4;

export class Playout {
  /** @param {number} rateHz of what is pushed and pulled */
  constructor(rateHz) {
    this.rateHz = rateHz;
    this.items = []; // {id, pieces, offset, queued, played, isComplete}: the first one is being played
    this.waitS = FIRST_WAIT_S;
    this.isPlaying = false;
    this.gaps = 0;
    this.tail = new Float32Array(0); // what is still to be heard of something that was stopped
  }

  /** Add a piece of an item. @param {string} id @param {Float32Array} samples */
  push(id, samples) {
    this._item(id).pieces.push(samples);
    this._item(id).queued += samples.length;
  }

  /** Tell that nothing more of an item will come. */
  complete(id) {
    const item = this.items.find((one) => one.id === id);
    if (item) item.isComplete = true;
  }

  /** Play no more of what is there but a short fade. @returns {{id: string, playedS: number}[]} what is cut */
  stop() {
    if (this.isPlaying) {
      this.tail = new Float32Array(Math.min(Math.round(FADE_S * this.rateHz), this.items[0].queued));
      take(this.items[0], this.tail);
      this.tail.forEach((sample, index, tail) => (tail[index] = sample * (1 - (index + 1) / tail.length)));
    }
    const cut = this.items.map(({ id, played }) => ({ id, playedS: played / this.rateHz }));
    this.items = [];
    this.isPlaying = false;
    return cut;
  }

  /** Fill a block of output. @param {Float32Array} output */
  pull(output) {
    output.fill(0);
    let done = Math.min(this.tail.length, output.length);
    output.set(this.tail.subarray(0, done));
    this.tail = this.tail.subarray(done);
    if (!this.isPlaying) this._beginIfEnough();
    while (this.isPlaying && done < output.length) {
      const item = this.items[0];
      done += take(item, output.subarray(done));
      if (item.queued === 0) this._itemIsEmpty(item);
    }
  }

  /** The id of the item that is being played, in its gaps too; null is none. */
  get current() {
    const item = this.items[0];
    return item && (this.isPlaying || item.played > 0) ? item.id : null;
  }

  /** Seconds of sound that wait to be played. */
  get queuedS() {
    return this.items.reduce((sum, item) => sum + item.queued, 0) / this.rateHz;
  }

  _item(id) {
    let item = this.items.find((one) => one.id === id);
    if (!item) {
      item = { id, pieces: [], offset: 0, queued: 0, played: 0, isComplete: false };
      this.items.push(item);
    }
    return item;
  }

  _beginIfEnough() {
    while (this.items.length && this.items[0].queued === 0 && this.items[0].isComplete) this.items.shift();
    const item = this.items[0];
    if (!item) return;
    this.isPlaying = item.queued > 0 && (item.isComplete || item.queued >= this.waitS * this.rateHz);
    if (this.isPlaying && item.played > 0) {
      this.gaps += 1; // its sound did not come in time
      this.waitS = Math.min(MAX_WAIT_S, this.waitS + WAIT_STEP_S);
    }
  }

  _itemIsEmpty(item) {
    if (item.isComplete || this.items.length > 1) this.items.shift();
    this.isPlaying = this.items.length > 0 && this.items[0].queued > 0;
  }
}

/** Copy of an item what fits, and return how many samples that were. */
function take(item, output) {
  let done = 0;
  while (done < output.length && item.pieces.length) {
    const piece = item.pieces[0];
    const part = piece.subarray(item.offset, item.offset + output.length - done);
    output.set(part, done);
    done += part.length;
    item.offset += part.length;
    if (item.offset === piece.length) {
      item.pieces.shift();
      item.offset = 0;
    }
  }
  item.queued -= done;
  item.played += done;
  return done;
}
