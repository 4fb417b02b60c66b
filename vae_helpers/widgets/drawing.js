// A pad to draw a digit on, with mouse, pen or finger. Its ink travels to Python as bytes, one for each of `side` x `side` pixels.

const PAD = 280, PEN = 21, EVERY = 80; // screen pixels, screen pixels, milliseconds

function render({ model, el }) {
  const side = model.get("side");
  const pad = document.createElement("canvas"), root = document.createElement("div");
  pad.width = pad.height = PAD;
  pad.className = "drawing-pad";
  pad.style.cssText = `width:${PAD}px;height:${PAD}px;background:black;border:1px solid #888;touch-action:none;cursor:crosshair;`;
  pad.setAttribute("role", "img");
  pad.setAttribute("aria-label", "A pad to draw a digit on. Without mouse, pen or finger, choose an example in place of it.");
  const clear = document.createElement("button"), problem = document.createElement("div");
  clear.type = "button";
  clear.textContent = "Clear";
  clear.style.cssText = "display:block;margin-top:6px;padding:4px 14px;";
  problem.setAttribute("role", "alert");
  root.append(pad, clear, problem);
  el.append(root);

  const c = pad.getContext("2d", { willReadFrequently: true });
  const small = document.createElement("canvas");
  small.width = small.height = side;
  const s = small.getContext("2d", { willReadFrequently: true });
  let sent = null; // the ink that this view sent last: what comes back from the kernel is then not drawn again

  function wipe() {
    c.fillStyle = "black";
    c.fillRect(0, 0, PAD, PAD);
  }
  function send() {
    s.drawImage(pad, 0, 0, side, side);
    const { data } = s.getImageData(0, 0, side, side);
    sent = new DataView(new ArrayBuffer(side * side));
    for (let i = 0; i < side * side; i++) sent.setUint8(i, data[4 * i]);
    model.set("value", sent);
    model.save_changes();
  }
  function show() { // ink from elsewhere: a page that was loaded again, another view, or Python
    const ink = model.get("value");
    if (ink === sent) return;
    wipe();
    if (!ink || ink.byteLength !== side * side) return;
    const image = s.createImageData(side, side);
    for (let i = 0; i < side * side; i++) {
      image.data.fill(ink.getUint8(i), 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255;
    }
    s.putImageData(image, 0, 0);
    c.drawImage(small, 0, 0, PAD, PAD);
  }

  let last = null, waiting = null;
  const at = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) * PAD) / box.width, ((event.clientY - box.top) * PAD) / box.height];
  };
  function stroke(to) {
    c.strokeStyle = "white";
    c.lineWidth = PEN;
    c.lineCap = c.lineJoin = "round";
    c.beginPath();
    c.moveTo(...last);
    c.lineTo(...to);
    c.stroke();
    last = to;
    waiting ??= setTimeout(() => {
      waiting = null;
      send();
    }, EVERY);
  }
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    last = at(event);
    stroke(last); // a touch leaves a dot
  });
  pad.addEventListener("pointermove", (event) => {
    if (last) for (const part of event.getCoalescedEvents?.() ?? [event]) stroke(at(part));
  });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (last = null));
  clear.addEventListener("click", () => {
    clearTimeout(waiting);
    waiting = null;
    wipe();
    sent = new DataView(new ArrayBuffer(0));
    model.set("value", sent);
    model.save_changes();
  });
  const tell = () => (problem.textContent = model.get("problem"));
  model.on("change:value", show);
  model.on("change:problem", tell);
  show();
  tell();
  return () => {
    clearTimeout(waiting);
    model.off("change:value", show);
    model.off("change:problem", tell);
  };
}

export default { render };
