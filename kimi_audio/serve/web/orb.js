/** The picture of the conversation: a calm disc, and around it the waveform of whoever speaks. */

const POINTS = 120;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/** How each phase looks: its two colours, how far sound moves it, and how it moves by itself. */
const LOOKS = {
  idle: { colors: ["--user", "--thinking"], breath: 0.012, spin: 0.1 },
  connecting: { colors: ["--user", "--thinking"], breath: 0.02, spin: 0.6, isWaiting: true },
  listening: { colors: ["--user", "--user-2"], breath: 0.01, spin: 0.15, by: "microphone", gain: 0.5 },
  hearing: { colors: ["--user", "--user-2"], breath: 0, spin: 0.3, by: "microphone", gain: 1 },
  thinking: { colors: ["--thinking", "--thinking-2"], breath: 0.03, spin: 0.9, isWaiting: true },
  speaking: { colors: ["--assistant", "--assistant-2"], breath: 0, spin: 0.3, by: "speaker", gain: 1 },
  error: { colors: ["--error", "--idle"], breath: 0, spin: 0 },
};

export class Orb {
  /** @param {HTMLCanvasElement} canvas @param {() => object} conversation */
  constructor(canvas, conversation) {
    this.canvas = canvas;
    this.conversation = conversation;
    this.samples = new Float32Array(1024);
    this.level = 0;
    this.wave = new Float32Array(POINTS);
    this.colors = null;
    this.turn = 0;
    this.beforeMs = performance.now();
    new ResizeObserver(() => this._resize()).observe(canvas);
    this._resize();
    const frame = (nowMs) => {
      if (!document.hidden && canvas.offsetParent) this._draw(nowMs);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  _resize() {
    const scale = Math.min(2, devicePixelRatio);
    this.canvas.width = this.canvas.height = Math.max(1, Math.round(this.canvas.clientWidth * scale));
  }

  _draw(nowMs) {
    const passedS = Math.min(0.1, (nowMs - this.beforeMs) / 1000);
    this.beforeMs = nowMs;
    const conversation = this.conversation();
    const look = LOOKS[conversation.phase];
    this._listen(look.by ? conversation[look.by]?.analyser : null, look.gain ?? 0);
    const style = getComputedStyle(this.canvas);
    this._approach(look.colors.map((name) => parse(style.getPropertyValue(name))), passedS);
    const isStill = STILL.matches;
    this.turn += isStill ? 0 : passedS * look.spin;
    const breath = isStill ? 0 : look.breath * Math.sin(nowMs / 900);
    this._paint(1 + breath + 0.16 * this.level, look, isStill);
  }

  /** Take the loudness and the waveform of a source, both smoothed. */
  _listen(analyser, gain) {
    let energy = 0;
    if (analyser) {
      analyser.getFloatTimeDomainData(this.samples);
      for (const sample of this.samples) energy += sample * sample;
    }
    const loudness = gain * Math.min(1, 3.2 * Math.sqrt(energy / this.samples.length));
    this.level += (loudness > this.level ? 0.35 : 0.09) * (loudness - this.level);
    const step = Math.floor(this.samples.length / POINTS);
    for (let point = 0; point < POINTS; point++) {
      let sum = 0;
      if (analyser) for (let index = 0; index < step; index++) sum += this.samples[point * step + index];
      this.wave[point] += 0.45 * ((gain * sum) / step - this.wave[point]);
    }
  }

  /** Colours flow into each other. */
  _approach(colors, passedS) {
    this.colors ??= colors;
    const share = Math.min(1, 5 * passedS);
    this.colors = this.colors.map((color, index) => mixed(color, colors[index], share));
  }

  _paint(scale, look, isStill) {
    const context = this.canvas.getContext("2d");
    const size = this.canvas.width;
    const radius = size * 0.29 * scale;
    context.clearRect(0, 0, size, size);
    context.save();
    context.translate(size / 2, size / 2);
    this._glow(context, radius, size);
    for (let layer = 0; layer < 3; layer++) this._petal(context, radius, layer);
    this._disc(context, radius);
    if (look.isWaiting) this._arc(context, radius * 1.22, isStill);
    else if (look.by && !isStill) this._waveform(context, radius * 1.22, size);
    context.restore();
  }

  _glow(context, radius, size) {
    const glow = context.createRadialGradient(0, 0, radius * 0.8, 0, 0, size / 2);
    glow.addColorStop(0, rgba(this.colors[0], 0.22 + 0.25 * this.level));
    glow.addColorStop(1, rgba(this.colors[0], 0));
    context.fillStyle = glow;
    context.fillRect(-size / 2, -size / 2, size, size);
  }

  /** A soft, slowly turning shape behind the disc. */
  _petal(context, radius, layer) {
    const swing = 0.035 + 0.1 * this.level;
    const lobes = 3 + layer;
    context.beginPath();
    for (let point = 0; point <= POINTS; point++) {
      const angle = (2 * Math.PI * point) / POINTS;
      const bend = Math.sin(lobes * angle + (layer % 2 ? -1 : 1) * this.turn * (1.6 + layer) + layer);
      const distance = radius * (1.06 + 0.03 * layer + swing * bend);
      context.lineTo(distance * Math.cos(angle), distance * Math.sin(angle));
    }
    context.fillStyle = rgba(this.colors[layer % 2], 0.16);
    context.fill();
  }

  _disc(context, radius) {
    context.beginPath();
    context.arc(0, 0, radius, 0, 2 * Math.PI);
    const slope = context.createLinearGradient(-0.7 * radius, -0.8 * radius, 0.7 * radius, 0.8 * radius);
    slope.addColorStop(0.1, rgba(this.colors[0], 1));
    slope.addColorStop(0.95, rgba(this.colors[1], 1));
    context.fillStyle = slope;
    context.fill();
    const shine = context.createRadialGradient(-0.35 * radius, -0.5 * radius, 0, -0.3 * radius, -0.4 * radius, radius);
    shine.addColorStop(0, "rgba(255,255,255,0.38)");
    shine.addColorStop(1, "rgba(255,255,255,0)");
    context.fillStyle = shine;
    context.fill();
  }

  /** The waveform as a ring; its two halves mirror each other, so that it closes. */
  _waveform(context, radius, size) {
    context.beginPath();
    for (let point = 0; point < 2 * POINTS; point++) {
      const index = point < POINTS ? point : 2 * POINTS - 1 - point;
      const angle = (Math.PI * (point + 0.5)) / POINTS - Math.PI / 2;
      const taper = Math.sqrt(Math.sin((Math.PI * (index + 0.5)) / POINTS)); // the halves meet smoothly
      const bent = Math.max(-1, Math.min(1, 3 * this.wave[index])) * taper;
      const distance = radius + size * (0.06 * this.level + 0.075 * bent);
      context.lineTo(distance * Math.cos(angle), distance * Math.sin(angle));
    }
    context.closePath();
    context.lineWidth = Math.max(1.5, size / 170);
    context.lineJoin = "round";
    context.strokeStyle = rgba(this.colors[0], 0.85);
    context.stroke();
  }

  /** A turning arc: something is awaited. */
  _arc(context, radius, isStill) {
    const start = isStill ? -Math.PI / 2 : this.turn * 3;
    context.lineCap = "round";
    context.lineWidth = Math.max(2, radius / 40);
    for (const [from, alpha] of [[0, 0.9], [Math.PI, 0.45]]) {
      context.beginPath();
      context.arc(0, 0, radius, start + from, start + from + 1.2);
      context.strokeStyle = rgba(this.colors[0], alpha);
      context.stroke();
    }
  }
}

/** Return red, green and blue of "#rrggbb". */
function parse(hex) {
  const value = parseInt(hex.trim().slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function mixed(color, other, share) {
  return color.map((value, index) => value + share * (other[index] - value));
}

function rgba(color, alpha) {
  return `rgba(${color.map(Math.round).join(",")},${alpha})`;
}
