// What a person can do about a failed job.

/** Faults of the service, not of the file: the same job may well succeed later. */
const OF_THE_SERVICE = new Set(["timeout", "crashed", "out_of_memory", "internal", "queue_down", "storage_down", "storage_full", "not_ready", "model_not_installed"]);

/** What helps instead of the same again. @type {Record<string, string>} */
const INSTEAD = {
  bad_image: "The same file would fail again. If it opens elsewhere, save it anew as JPEG or PNG and upload that.",
  too_many_pixels: "The same file would fail again. Upload a smaller version of it.",
  bad_aspect: "The same file would fail again. Cut out the part that matters and upload that.",
  bad_video: "The same file would fail again. If it plays elsewhere, save it anew as MP4 (H.264) and upload that.",
  no_video_stream: "The same file would fail again: there is nothing to see in it.",
  no_frames: "The same would fail again. If the video plays elsewhere, upload it once more with another start and end.",
  too_long: "The same file would fail again. Cut the video into shorter ones and upload those.",
  too_large: "The same file would fail again. Upload a shorter or smaller version of it.",
  invalid_option: "The same would fail again. Upload the file once more with other options.",
  unknown_model: "Upload the file once more and choose another model.",
  model_broken: "Whoever runs this service has to mend the model. Until then, upload the file once more and choose another one.",
  model_not_installed: "Once it is, try again; or upload the file once more and choose another model.",
  out_of_memory: "A smaller version of the file may do.",
  expired: "Trying again sets no such limit.",
};

/** Whether it is a fault of the service, so that the same again may well work. @param {string | undefined} code */
export function isOfTheService(code) {
  return code === undefined || OF_THE_SERVICE.has(code);
}

/** A sentence or two beside the error's own; empty where that says it all. @param {string | undefined} code */
export function advice(code) {
  return INSTEAD[code ?? ""] ?? "";
}
