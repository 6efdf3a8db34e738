// A picture of a video file that is still on this machine, for the list. One after the other: each is a decoder.

const SIDE = 224; // pixels
const PATIENCE_MS = 4000;

let last = Promise.resolve();

/**
 * The address of a picture, to be given back by `URL.revokeObjectURL`; "" for what this browser cannot play.
 *
 * @param {File} file
 * @returns {Promise<string>}
 */
export function firstFrame(file) {
  const picture = last.then(() => read(file)).catch(() => "");
  last = picture.then(() => {});
  return picture;
}

/** @param {File} file @returns {Promise<string>} */
async function read(file) {
  const source = URL.createObjectURL(file);
  const video = document.createElement("video");
  try {
    await new Promise((resolve, reject) => {
      video.addEventListener("loadeddata", resolve);
      video.addEventListener("error", reject);
      setTimeout(reject, PATIENCE_MS);
      Object.assign(video, { muted: true, preload: "auto", src: source });
    });
    const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(video.videoWidth * scale));
    canvas.height = Math.max(1, Math.round(video.videoHeight * scale));
    canvas.getContext("2d")?.drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((/** @type {(blob: Blob | null) => void} */ resolve) => canvas.toBlob(resolve, "image/jpeg"));
    return blob ? URL.createObjectURL(blob) : "";
  } finally {
    video.removeAttribute("src");
    video.load(); // lets go of the file
    URL.revokeObjectURL(source);
  }
}
