// Pictures on 2-D canvases. WebGL would take 0.1 s of processor time per frame in a browser without a graphics card.
const NEAR_PX = 14;

export const MINUS = "\u2212";
const FONT = "13px system-ui, sans-serif";
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Picture {
  constructor(element) {
    Object.assign(this, { element, frame: null, pointer: null, scheduled: false, spots: [] });
    this.canvas = element.appendChild(document.createElement("canvas"));
    this.pen = this.canvas.getContext("2d");
    new ResizeObserver(() => this.soon()).observe(element);
    element.addEventListener("pointermove", ({ offsetX: x, offsetY: y }) => this.point({ x, y }));
    element.addEventListener("pointerleave", () => this.point(null));
  }

  point(pointer) {
    this.pointer = pointer;
    this.soon();
  }

  show(frame) {
    this.frame = frame;
    this.soon();
  }

  // Draws at the next animation frame, so a hidden page draws nothing. Only the last of several frames is drawn.
  soon() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  draw() {
    const { element, canvas, pen, frame } = this;
    const { clientWidth: width, clientHeight: height } = element;
    if (!width || !height) return;
    const dense = devicePixelRatio;
    const [across, down] = [Math.round(width * dense), Math.round(height * dense)];
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = FONT;
    this.spots = [];
    this.paint(width, height);
    this.tell(width);
    if (!frame || element.dataset.frame === String(frame.number)) return;
    element.dataset.frame = frame.number;
    element.dataset.drawn = Number(element.dataset.drawn ?? 0) + 1;
  }

  // Shows a tooltip with the text of the spot {x, y, says} nearest to the pointer.
  tell(width) {
    if (!this.pointer) return;
    const far = ({ x, y }) => Math.hypot(x - this.pointer.x, y - this.pointer.y);
    const spot = this.spots.reduce((best, one) => (best && far(best) <= far(one) ? best : one), null);
    if (!spot || far(spot) > NEAR_PX) return;
    const { pen } = this;
    const says = spot.says.replaceAll("-", MINUS);
    const wide = pen.measureText(says).width + 16;
    const x = Math.max(Math.min(spot.x + 12, width - wide), 0);
    const y = Math.max(spot.y - 34, 0);
    pen.fillStyle = colour("ink");
    pen.fillRect(x, y, wide, 24);
    this.write(says, x + 8, y + 12, "left", colour("paper"));
  }

  write(text, x, y, align = "center", fill = colour("ink")) {
    Object.assign(this.pen, { fillStyle: fill, textAlign: align, textBaseline: "middle" });
    this.pen.fillText(text, x, y);
  }

  // Draws a line through points [x, y]; null separates lines.
  line(points, stroke, width = 1) {
    const { pen } = this;
    pen.beginPath();
    let begun = false;
    for (const point of points) {
      if (point) pen[begun ? "lineTo" : "moveTo"](...point);
      begun = Boolean(point);
    }
    Object.assign(pen, { strokeStyle: stroke, lineWidth: width });
    pen.stroke();
  }

  ring(x, y, radius, stroke, width = 2) {
    const { pen } = this;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    Object.assign(pen, { strokeStyle: stroke, lineWidth: width });
    pen.stroke();
  }
}

// About `count` round values from `low` to `high`, with their labels.
export const ticks = (low, high, count) => {
  const rough = (high - low) / Math.max(count, 1);
  const decade = 10 ** Math.floor(Math.log10(rough));
  const step = decade * [1, 2, 5, 10].find((digit) => digit * decade >= rough);
  const digits = Math.max(-Math.floor(Math.log10(step) + 1e-9), 0);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, number) => {
    const value = (first + number) * step;
    return { value, text: value.toFixed(digits).replace("-", MINUS) };
  });
};
