// A map of two-dimensional codes with a point to drag, and the decoder's mean image at that point. The decoder runs here, in the page:
// its weights arrive once, and nothing else is asked of anybody. `unpack` and `decode` are exported for the tests.

const MAP = 420, MARGIN = 26, PICTURE = 280, PIXELS = 28;
const ACTIVATIONS = {
  relu: (a) => (a > 0 ? a : 0),
  tanh: Math.tanh,
  silu: (a) => a / (1 + Math.exp(-a)),
  softplus: (a) => (a > 20 ? a : Math.log1p(Math.exp(a))),
};
const OUTPUTS = {
  sigmoid: (a) => 1 / (1 + Math.exp(-a)),
  continuous_bernoulli: (a) => // as vae_helpers.losses.continuous_bernoulli_mean
    Math.abs(a) < 0.1 ? 0.5 + a / 12 - a ** 3 / 720 : 1 / (1 + Math.exp(-a)) / Math.tanh(a / 2) - 1 / a,
  identity: (a) => a,
};

function half(bits) { // a 16-bit float
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

function floats(view, bytes = 4) { // a DataView of little-endian floats -> Float32Array
  const read = bytes === 2 ? (i) => half(view.getUint16(2 * i, true)) : (i) => view.getFloat32(4 * i, true);
  return Float32Array.from({ length: view.byteLength / bytes }, (_, i) => read(i));
}

// Sizes [inputs, hidden..., 784] and one DataView (weights, then biases, layer by layer) -> a list of {weights, biases}
export function unpack(view, sizes, bytes) {
  const all = floats(view, bytes);
  let start = 0;
  const take = (n) => all.subarray(start, (start += n));
  return sizes.slice(1).map((n, i) => ({ weights: take(n * sizes[i]), biases: take(n) }));
}

// A code, with its one-hot label behind it where the model has one -> 784 pixel values
export function decode(layers, activation, output, code) {
  let h = code;
  layers.forEach(({ weights, biases }, depth) => {
    const act = depth === layers.length - 1 ? OUTPUTS[output] : ACTIVATIONS[activation];
    const next = new Float32Array(biases.length);
    for (let i = 0; i < next.length; i++) {
      let sum = biases[i];
      const row = i * h.length;
      for (let j = 0; j < h.length; j++) sum += weights[row + j] * h[j];
      next[i] = act(sum);
    }
    h = next;
  });
  return h;
}

const polygon = (...corners) => (c, x, y, r) => {
  corners.forEach(([u, v], i) => c[i ? "lineTo" : "moveTo"](x + r * u, y + r * v));
  c.closePath();
};
const turned = (corners, quarter) => corners.map(([u, v]) => [[u, v], [-v, u], [-u, -v], [v, -u]][quarter]);
const TRIANGLE = [[0, -1], [0.9, 0.8], [-0.9, 0.8]];
const PLUS = [[-0.35, -1], [0.35, -1], [0.35, -0.35], [1, -0.35], [1, 0.35], [0.35, 0.35], [0.35, 1], [-0.35, 1], [-0.35, 0.35],
  [-1, 0.35], [-1, -0.35], [-0.35, -0.35]];
const STAR = Array.from({ length: 10 }, (_, i) => {
  const r = i % 2 ? 0.45 : 1.15, angle = (i * Math.PI) / 5;
  return [r * Math.sin(angle), -r * Math.cos(angle)];
});
const MARKERS = { // the names of matplotlib
  o: (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
  s: polygon([-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]),
  "^": polygon(...TRIANGLE), ">": polygon(...turned(TRIANGLE, 1)), v: polygon(...turned(TRIANGLE, 2)), "<": polygon(...turned(TRIANGLE, 3)),
  D: polygon([0, -1.1], [1.1, 0], [0, 1.1], [-1.1, 0]),
  P: polygon(...PLUS), X: polygon(...PLUS.map(([u, v]) => [(u - v) * 0.71, (u + v) * 0.71])),
  "*": polygon(...STAR),
};

function sharpCanvas(width, height) { // sharp on screens with several pixels to a dot
  const canvas = document.createElement("canvas"), ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.cssText = `width:${width}px;height:${height}px;`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return [canvas, context];
}

function drawMap(c, model, place, reach) {
  const codes = floats(model.get("codes")), labels = model.get("labels"), look = model.get("look");
  c.fillStyle = "white";
  c.fillRect(0, 0, MAP, MAP);
  c.save();
  c.beginPath();
  c.rect(MARGIN, 0, MAP - MARGIN, MAP - MARGIN);
  c.clip();
  c.strokeStyle = "#bbbbbb";
  c.setLineDash([4, 4]);
  const centre = place([0, 0]);
  for (const radius of model.get("circles")) {
    c.beginPath();
    c.arc(...centre, place([radius, 0])[0] - centre[0], 0, 2 * Math.PI);
    c.stroke();
  }
  c.globalAlpha = 0.6;
  for (let i = 0; i < labels.byteLength; i++) {
    const digit = labels.getUint8(i);
    c.fillStyle = look.colors[digit];
    c.beginPath();
    MARKERS[look.markers[digit]](c, ...place([codes[2 * i], codes[2 * i + 1]]), 2.6);
    c.fill();
  }
  c.globalAlpha = 0.92;
  c.setLineDash([]);
  c.font = "bold 15px sans-serif";
  c.textAlign = "center";
  c.textBaseline = "middle";
  for (const [digit, z1, z2] of model.get("places")) {
    const [x, y] = place([z1, z2]);
    c.beginPath();
    c.arc(x, y, 11, 0, 2 * Math.PI);
    c.fillStyle = "white";
    c.fill();
    c.strokeStyle = look.colors[digit];
    c.lineWidth = 1.5;
    c.stroke();
    c.fillStyle = "black";
    c.fillText(digit, x, y + 1);
  }
  c.restore();
  c.fillStyle = "#333333";
  c.font = "11px sans-serif";
  c.textAlign = "center";
  const outermost = Math.ceil(reach) - 1; // a number at the very edge would be cut
  for (let tick = -outermost; tick <= outermost; tick++) {
    const [x, y] = place([tick, tick]), text = String(tick).replace("-", "−");
    c.fillText(text, x, MAP - MARGIN + 10);
    c.fillText(text, MARGIN - 10, y);
  }
  c.fillText("z₁", MAP - 12, MAP - 4);
  c.fillText("z₂", 8, 8);
}

function drawPoint(c, [x, y]) {
  c.strokeStyle = "rgba(0, 0, 0, 0.35)";
  c.beginPath();
  c.moveTo(MARGIN, y);
  c.lineTo(MAP, y);
  c.moveTo(x, 0);
  c.lineTo(x, MAP - MARGIN);
  c.stroke();
  for (const [radius, color] of [[9, "white"], [7, "black"], [4, "white"]]) {
    c.fillStyle = color;
    c.beginPath();
    c.arc(x, y, radius, 0, 2 * Math.PI);
    c.fill();
  }
}

let drawn = 0; // names the radio buttons of each view

function digitButtons(model, count) {
  const set = document.createElement("fieldset"), legend = document.createElement("legend"), name = `latent-map-${drawn++}`;
  set.style.cssText = "border:none;padding:0;margin:0 0 8px 0;display:flex;gap:10px;";
  legend.textContent = "digit";
  set.append(legend);
  const buttons = Array.from({ length: count }, (_, digit) => {
    const label = document.createElement("label"), button = document.createElement("input");
    Object.assign(button, { type: "radio", name, value: digit });
    button.addEventListener("change", () => {
      model.set("digit", digit);
      model.save_changes();
    });
    label.append(button, ` ${digit}`);
    set.append(label);
    return button;
  });
  return [set, (digit) => buttons.forEach((button, i) => (button.checked = i === digit))];
}

function render({ model, el }) {
  const reach = model.get("reach"), classes = model.get("classes"), inside = (MAP - MARGIN) / 2;
  const layers = unpack(model.get("weights"), model.get("sizes"), model.get("bytes_per_weight"));
  const place = ([z1, z2]) => [MARGIN + inside * (1 + z1 / reach), inside * (1 - z2 / reach)]; // z2 grows upwards
  const within = (value) => Math.round(100 * Math.min(reach, Math.max(-reach, value))) / 100;

  const [still, stillContext] = sharpCanvas(MAP, MAP);
  drawMap(stillContext, model, place, reach);
  const [map, context] = sharpCanvas(MAP, MAP);
  map.tabIndex = 0;
  map.className = "latent-map-codes";
  map.style.touchAction = "none";
  map.style.cursor = "crosshair";
  map.setAttribute("role", "application");
  map.setAttribute("aria-label", "Map of codes. The arrow keys move the point, with shift in larger steps; Home goes to the centre.");
  const picture = document.createElement("canvas");
  picture.width = picture.height = PIXELS;
  picture.className = "latent-map-picture";
  picture.style.cssText = `width:${PICTURE}px;height:${PICTURE}px;image-rendering:pixelated;`;
  picture.setAttribute("role", "img");
  const caption = document.createElement("div");
  caption.setAttribute("aria-live", "polite");
  caption.style.cssText = "margin-top:8px;font-variant-numeric:tabular-nums;";
  const [set, check] = classes ? digitButtons(model, classes) : [null, () => {}];
  const right = document.createElement("div"), root = document.createElement("div");
  right.append(...(set ? [set] : []), picture, caption);
  root.append(map, right);
  root.className = "latent-map";
  root.style.cssText = "display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start;padding:3px;";
  el.append(root);

  const pictureContext = picture.getContext("2d"), pixels = pictureContext.createImageData(PIXELS, PIXELS);
  function redraw() {
    const z = model.get("z"), digit = model.get("digit"), code = new Float32Array(2 + classes);
    code.set(z);
    if (classes) code[2 + digit] = 1;
    const values = decode(layers, model.get("activation"), model.get("output"), code);
    for (let i = 0; i < values.length; i++) {
      pixels.data.fill(255 * Math.min(1, Math.max(0, values[i])), 4 * i, 4 * i + 3);
      pixels.data[4 * i + 3] = 255;
    }
    pictureContext.putImageData(pixels, 0, 0);
    context.drawImage(still, 0, 0, MAP, MAP);
    drawPoint(context, place(z));
    const [z1, z2] = z.map((value) => value.toFixed(2).replace("-", "−"));
    caption.textContent = `z = (${z1}, ${z2}), at distance ${Math.hypot(...z).toFixed(2)} from the centre`;
    picture.setAttribute("aria-label", `The decoder's mean image${classes ? ` of a ${digit}` : ""} at z = (${z1}, ${z2})`);
    check(digit);
  }
  const move = (z) => model.set("z", z.map(within)); // every view listens, this one too

  function toPointer(event) {
    const box = map.getBoundingClientRect();
    const x = ((event.clientX - box.left) * MAP) / box.width, y = ((event.clientY - box.top) * MAP) / box.height;
    move([reach * ((x - MARGIN) / inside - 1), reach * (1 - y / inside)]);
  }
  let dragging = false;
  map.addEventListener("pointerdown", (event) => {
    dragging = true;
    map.setPointerCapture(event.pointerId);
    toPointer(event);
  });
  map.addEventListener("pointermove", (event) => dragging && toPointer(event));
  for (const end of ["pointerup", "pointercancel"]) {
    map.addEventListener(end, () => {
      if (dragging) model.save_changes(); // the kernel, where there is one, hears of the end of a drag only
      dragging = false;
    });
  }
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  map.addEventListener("keydown", (event) => {
    if (event.key !== "Home" && !STEPS[event.key]) return;
    event.preventDefault();
    const z = model.get("z"), step = event.shiftKey ? 0.5 : 0.1;
    move(event.key === "Home" ? [0, 0] : z.map((value, i) => value + step * STEPS[event.key][i]));
    model.save_changes();
  });
  // else JupyterLab takes the arrow keys, those of the digit buttons too, to go to another cell
  root.addEventListener("keydown", (event) => event.key.startsWith("Arrow") && event.stopPropagation());
  for (const name of ["change:z", "change:digit"]) model.on(name, redraw);
  redraw();
  return () => ["change:z", "change:digit"].forEach((name) => model.off(name, redraw));
}

export default { render };
