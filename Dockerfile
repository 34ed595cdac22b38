# The compilers of this image build the DTLS addon where no binary of it is shipped.
FROM node:22-bookworm AS build
WORKDIR /opt/hubbub
COPY package.json package-lock.json ./
COPY listeners/dtls/addon listeners/dtls/addon
RUN npm ci
COPY . .
RUN npm run build

FROM build AS production
RUN npm prune --omit=dev

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /opt/hubbub
COPY --from=production /opt/hubbub/package.json ./
COPY --from=production /opt/hubbub/node_modules node_modules
COPY --from=production /opt/hubbub/listeners/dtls/addon listeners/dtls/addon
COPY --from=production /opt/hubbub/dist dist
COPY --from=production /opt/hubbub/etc etc
RUN install -d -o node -g node -m 0700 /var/lib/hubbub
USER node
VOLUME /var/lib/hubbub
EXPOSE 1883 8083 61613 15674
# An etc/hubbub.yaml of your own: mount it over /opt/hubbub/etc/hubbub.yaml. SIGTERM stops it, SIGHUP reloads.
ENTRYPOINT ["node", "dist/cli/hubbub.js"]
CMD ["start", "--data-dir", "/var/lib/hubbub"]
