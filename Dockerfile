# One image for worker and watcher; see compose.yaml. QC tools: build with --build-arg QC=yes (500 MB more).
FROM node:24-bookworm-slim
ARG QC=no
RUN apt-get update \
 && apt-get install -y --no-install-recommends redis-server $( [ "$QC" = yes ] && echo fastqc multiqc ) \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/longshore
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts
COPY . .
RUN npm run prepare
ENV APP_ENV=docker LONGSHORE_HOME=/opt/sca/longshore
VOLUME /opt/sca
# As `npm start`, without its installing: what is wrong with configuration or folders is said once, with 78.
CMD ["node", "scripts/foreground.ts"]
