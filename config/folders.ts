/** The usual folders of one dataset type below a data root; an overlay may replace any of them. */
export const typeFolders = (root: string, folder: string) => ({
  upload: `${root}/uploads/${folder}`,
  archive: `${root}/archive/{year}/${folder}`,
  stage: `${root}/staged/${folder}`,
  bundle: { generate: `${root}/bundle/${folder}/generation`, stage: `${root}/bundle/${folder}/staging` },
  qc: `${root}/qc/${folder}`,
});
