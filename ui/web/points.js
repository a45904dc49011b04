// Draws very many points, and finds the one under the pointer. It knows positions, groups and colours, and no texts.
// WebGL where there is a graphics card, else a 2D canvas; 50,000 points stay smooth with either (benchmarks/map.py).

const UNITS = 65535; // positions are whole numbers from 0 to this
const CELLS = 256; // on each side of the grid in which points are looked up
const CELL = (UNITS + 1) / CELLS;
const MOST_GROUPS = 16; // the second eight have the colours of the first, and are drawn as squares
const DIM = 0.16; // opacity of what is not chosen

class Points {
  constructor(canvas) {
    this.canvas = canvas;
    this.n = 0;
    this.at = new Uint16Array(0); // x and y of each point, one after the other
    this.groups = new Uint8Array(0);
    this.colours = []; // [red, green, blue], each from 0 to 1, of each group
    this.grey = [0.5, 0.5, 0.5];
    this.shown = null; // the groups that are chosen, as a set; null for all
    this.above = 0; // pixels at the top that something else stands on
    this.camera = { x: UNITS / 2, y: UNITS / 2, scale: 0.01 }; // what is in the middle; pixels to a unit
    this.fitted = 0.01; // the scale at which all points just fit
    this.brush = glBrush(canvas);
    if (!this.brush) {
      this.canvas = canvas.cloneNode(); // one that was asked for WebGL gives nothing else
      canvas.replaceWith(this.canvas);
      this.brush = flatBrush(this.canvas);
    }
  }

  place(at) {
    this.at = at;
    this.n = at.length / 2;
    if (this.groups.length !== this.n) this.groups = new Uint8Array(this.n);
    this.grid = gridOf(at);
    this.brush.place(at);
    this.brush.group(this.groups);
  }

  group(groups, shown = null) {
    this.groups = groups;
    this.shown = shown;
    this.brush.group(groups);
  }

  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.max(Math.round(this.width * ratio), 1);
    this.canvas.height = Math.max(Math.round(this.height * ratio), 1);
    this.ratio = ratio;
    if (!this.width || !this.height) return;
    const before = this.fitted;
    this.fitted = scaleFor(this, extent(this.at));
    this.camera.scale *= this.fitted / before; // as much of the map as before
  }

  // The diameter of a point in pixels: less for many of them, more when one comes closer.
  get size() {
    const apart = Math.min(Math.max(44 * Math.max(this.n, 1) ** -0.27, 3), 9);
    return Math.min(apart * Math.max(this.camera.scale / this.fitted, 1) ** 0.35, 14);
  }

  toScreen(x, y) {
    const { x: cx, y: cy, scale } = this.camera;
    return [(x - cx) * scale + this.width / 2, (y - cy) * scale + this.height / 2];
  }

  toUnits(left, top) {
    const { x, y, scale } = this.camera;
    return [(left - this.width / 2) / scale + x, (top - this.height / 2) / scale + y];
  }

  pan(dx, dy) {
    this.look(this.camera.x - dx / this.camera.scale, this.camera.y - dy / this.camera.scale, this.camera.scale);
  }

  // What is at that place of the screen stays there.
  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toUnits(left, top);
    const scale = Math.min(Math.max(this.camera.scale * factor, this.fitted * 0.5), this.fitted * 400);
    this.look(x - (left - this.width / 2) / scale, y - (top - this.height / 2) / scale, scale);
  }

  look(x, y, scale) {
    const within = (value) => Math.min(Math.max(value, -UNITS / 2), UNITS * 1.5);
    this.camera = { x: within(x), y: within(y), scale };
  }

  // Bring a box of units [left, top, right, bottom] into view; all points without one.
  fit(box = extent(this.at), closest = Infinity) {
    const scale = Math.min(scaleFor(this, box), this.fitted * closest);
    this.look((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 - this.above / 2 / scale, scale);
  }

  isShown(row) {
    return !this.shown || this.shown.has(this.groups[row]);
  }

  // The rows of the points next to a place of the screen, the nearest first.
  near(left, top, radius, most) {
    if (!this.n) return [];
    const [x, y] = this.toUnits(left, top);
    const reach = radius / this.camera.scale;
    const cell = (value) => Math.min(Math.max(Math.floor(value / CELL), 0), CELLS - 1);
    const found = [];
    for (let row = cell(y - reach); row <= cell(y + reach); row++) {
      const from = this.grid.starts[row * CELLS + cell(x - reach)];
      const to = this.grid.starts[row * CELLS + cell(x + reach) + 1];
      for (let k = from; k < to; k++) {
        const i = this.grid.order[k];
        const away = (this.at[2 * i] - x) ** 2 + (this.at[2 * i + 1] - y) ** 2;
        if (away <= reach * reach && this.isShown(i)) keepNearest(found, { i, away }, most);
      }
    }
    return found.map(({ i }) => i);
  }

  draw() {
    if (this.width && this.height) this.brush.draw(this);
  }

  release() {
    this.brush.release();
  }
}

function keepNearest(found, point, most) {
  if (found.length === most && found[most - 1].away <= point.away) return;
  let k = found.length;
  while (k && found[k - 1].away > point.away) k--;
  found.splice(k, 0, point);
  if (found.length > most) found.pop();
}

function extent(at) {
  let [left, top, right, bottom] = [UNITS, UNITS, 0, 0];
  for (let i = 0; i < at.length; i += 2) {
    if (at[i] < left) left = at[i];
    if (at[i] > right) right = at[i];
    if (at[i + 1] < top) top = at[i + 1];
    if (at[i + 1] > bottom) bottom = at[i + 1];
  }
  return at.length ? [left, top, right, bottom] : [0, 0, UNITS, UNITS];
}

function scaleFor(points, [left, top, right, bottom]) {
  const height = points.height - points.above;
  const margin = Math.min(points.width, height) * 0.05 + 10;
  const across = Math.max(points.width - 2 * margin, 40) / Math.max(right - left, UNITS / 2000);
  const down = Math.max(height - 2 * margin, 40) / Math.max(bottom - top, UNITS / 2000);
  return Math.min(across, down);
}

// The rows of each cell one after the other: order[starts[cell]] to order[starts[cell + 1] - 1].
function gridOf(at) {
  const n = at.length / 2;
  const cellOf = (i) => Math.floor(at[2 * i + 1] / CELL) * CELLS + Math.floor(at[2 * i] / CELL);
  const starts = new Uint32Array(CELLS * CELLS + 1);
  for (let i = 0; i < n; i++) starts[cellOf(i) + 1]++;
  for (let cell = 0; cell < CELLS * CELLS; cell++) starts[cell + 1] += starts[cell];
  const next = starts.slice();
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[next[cellOf(i)]++] = i;
  return { starts, order };
}

// WebGL

const VERTEX = `
  attribute vec2 at;
  attribute float group;
  uniform vec2 scale, shift;
  uniform mediump float size; // in both shaders, so of one precision
  uniform float pass;
  uniform vec4 colours[${MOST_GROUPS}];
  varying vec4 colour;
  varying float square;
  void main() {
    colour = colours[int(group + 0.5)];
    square = step(7.5, group);
    bool wanted = (colour.a > 0.5) == (pass > 0.5);
    gl_Position = wanted ? vec4(at * scale + shift, 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
    gl_PointSize = size;
  }`;
const FRAGMENT = `
  precision mediump float;
  varying vec4 colour;
  varying float square;
  uniform float size;
  void main() {
    vec2 p = (gl_PointCoord - 0.5) * size;
    float out_by = mix(length(p) - size * 0.5, max(abs(p.x), abs(p.y)) - size * 0.42, square);
    float ink = clamp(0.5 - out_by, 0.0, 1.0) * colour.a;
    gl_FragColor = vec4(colour.rgb * ink, ink);
  }`;

function glBrush(canvas) {
  // Not where a program stands in for a graphics card: it takes longer for a frame than the 2D canvas does.
  const wanted = { alpha: true, antialias: false, powerPreference: "low-power", failIfMajorPerformanceCaveat: true };
  const gl = canvas.getContext("webgl", wanted);
  if (!gl || isStandIn(gl)) return null;
  const brush = { kind: "webgl", at: new Uint16Array(0), groups: new Uint8Array(0) };
  let program, at, group, where;
  const start = () => {
    program = glProgram(gl);
    if (!program) return false;
    at = gl.createBuffer();
    group = gl.createBuffer();
    where = (name) => gl.getUniformLocation(program, name);
    fill(at, brush.at);
    fill(group, brush.groups);
    return true;
  };
  const fill = (buffer, values) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  };
  const attribute = (name, buffer, size, type) => {
    const location = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, type, false, 0, 0);
  };
  if (!start()) return null;
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => {
    start();
    brush.restored?.();
  });
  brush.place = (values) => fill(at, (brush.at = values));
  brush.group = (values) => fill(group, (brush.groups = values));
  brush.draw = (points) => {
    if (gl.isContextLost()) return;
    const { x, y, scale } = points.camera;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    attribute("at", at, 2, gl.UNSIGNED_SHORT);
    attribute("group", group, 1, gl.UNSIGNED_BYTE);
    const across = (2 * scale) / points.width;
    const down = (-2 * scale) / points.height;
    gl.uniform2f(where("scale"), across, down);
    gl.uniform2f(where("shift"), -x * across, -y * down);
    gl.uniform1f(where("size"), Math.max(points.size * points.ratio, 1));
    gl.uniform4fv(where("colours"), inks(points).flat());
    for (const pass of points.shown ? [0, 1] : [1]) {
      gl.uniform1f(where("pass"), pass);
      gl.drawArrays(gl.POINTS, 0, points.n);
    }
  };
  brush.release = () => gl.getExtension("WEBGL_lose_context")?.loseContext();
  return brush;
}

// Browsers do not always own up to it.
function isStandIn(gl) {
  const about = gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl.getParameter(about ? about.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

function glProgram(gl) {
  const program = gl.createProgram();
  for (const [type, source] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) || gl.isContextLost() ? program : null;
}

// Colour and opacity of each group: the more points, the more shines through. What is not chosen is grey and faint.
function inks(points) {
  const ink = points.n > 5000 ? 0.75 : 0.9;
  return Array.from({ length: MOST_GROUPS }, (_, group) => {
    const isShown = !points.shown || points.shown.has(group);
    return [...(isShown ? (points.colours[group % points.colours.length] ?? points.grey) : points.grey), isShown ? ink : DIM];
  });
}

// Without WebGL: small points of many as pixels, which is quickest; large ones, or few, as shapes with smooth edges.

const PIXELS = 6; // a point's diameter below which nobody sees whether its edge is smooth

function flatBrush(canvas) {
  const context = canvas.getContext("2d");
  const brush = { kind: "2d", place() {}, release() {} };
  let order = new Uint32Array(0); // rows by group, so that each colour is set once
  let image = null;
  brush.group = (groups) => {
    order = byGroup(groups);
  };
  brush.draw = (points) => {
    const size = points.size * points.ratio;
    if (size < PIXELS && points.n > 2000) {
      if (image?.width !== canvas.width || image?.height !== canvas.height) {
        image = context.createImageData(canvas.width, canvas.height);
      }
      plot(points, new Uint32Array(image.data.buffer), canvas.width, canvas.height, Math.max(Math.round(size), 1));
      context.putImageData(image, 0, 0);
    } else {
      paint(points, context, order);
    }
  };
  return brush;
}

function byGroup(groups) {
  const starts = new Uint32Array(MOST_GROUPS + 1);
  for (const group of groups) starts[group + 1]++;
  for (let i = 0; i < MOST_GROUPS; i++) starts[i + 1] += starts[i];
  const order = new Uint32Array(groups.length);
  groups.forEach((group, i) => (order[starts[group]++] = i));
  return order;
}

function plot(points, pixels, width, height, size) {
  const { at, groups, n, ratio } = points;
  const { x, y } = points.camera;
  const scale = points.camera.scale * ratio;
  const [dx, dy] = [width / 2 - x * scale - size / 2, height / 2 - y * scale - size / 2];
  // Pixels lie over each other without mixing: what is shown is opaque, lest it be paler than its swatch.
  const byte = (part, by) => Math.round(part * 255) << by;
  const colours = inks(points).map(([r, g, b, a]) => (byte(a > 0.5 ? 1 : a, 24) | byte(b, 16) | byte(g, 8) | byte(r, 0)) >>> 0);
  const inside = (round) => {
    const found = [];
    for (let k = 0; k < size * size; k++) {
      const [left, top] = [(k % size) + 0.5 - size / 2, Math.floor(k / size) + 0.5 - size / 2];
      if (!round || Math.hypot(left, top) <= size / 2) found.push(Math.floor(k / size) * width + (k % size));
    }
    return Int32Array.from(found);
  };
  const shapes = [inside(true), inside(size < 4)];
  pixels.fill(0);
  const [most, least] = [width - size, height - size];
  for (const chosen of points.shown ? [false, true] : [true]) {
    for (let i = 0; i < n; i++) {
      const group = groups[i];
      if (points.shown && points.shown.has(group) !== chosen) continue;
      const left = Math.round(at[2 * i] * scale + dx);
      const top = Math.round(at[2 * i + 1] * scale + dy);
      if (left < 0 || top < 0 || left > most || top > least) continue;
      const first = top * width + left;
      const shape = shapes[group >> 3];
      const colour = colours[group];
      for (let k = 0; k < shape.length; k++) pixels[first + shape[k]] = colour;
    }
  }
}

function paint(points, context, order) {
  const { width, height, ratio, at, groups, size } = points;
  const { x, y, scale } = points.camera;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const colours = inks(points);
  for (const chosen of points.shown ? [false, true] : [true]) {
    let last = -1;
    for (const i of order) {
      const group = groups[i];
      if (points.shown && points.shown.has(group) !== chosen) continue;
      const left = (at[2 * i] - x) * scale + width / 2;
      const top = (at[2 * i + 1] - y) * scale + height / 2;
      if (left < -size || top < -size || left > width + size || top > height + size) continue;
      if (group !== last) {
        last = group;
        const [r, g, b, a] = colours[group];
        context.fillStyle = `rgb(${r * 255} ${g * 255} ${b * 255} / ${a})`;
      }
      if (group > 7) {
        context.fillRect(left - size * 0.42, top - size * 0.42, size * 0.84, size * 0.84);
      } else {
        context.beginPath();
        context.arc(left, top, size / 2, 0, 2 * Math.PI);
        context.fill();
      }
    }
  }
}
