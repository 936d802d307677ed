"""What the meshes and pictures of SimplerEnv's tasks hash to; a table.

Path below ManiSkill2_real2sim's `data` folder → the first 16 digits of its git blob id (SHA-1 of `blob SIZE`,
a zero byte, the content), as the repository lists them at commit ef7a4d4 (2024-10-18).
"""

from __future__ import annotations

CHECKSUMS: dict[str, dict[str, str]] = {
    "custom": {
        "info_bridge_custom_baked_tex_v0.json": "a08cd4f7470fc603",
        "info_bridge_custom_v0.json": "fc4732bf136ecc79",
        "info_pick_custom_baked_tex_v0.json": "328d7411b6738cdb",
        "info_pick_custom_baked_tex_v1.json": "46c500871f5ad002",
        "info_pick_custom_v0.json": "726598f049cc18b1",
        "mk_station.urdf": "fb8cabeb861a22ef",
        "mk_station2.urdf": "6f636571e7f8c533",
        "mk_station3.urdf": "b87615dee68ed643",
        "mk_station_recolor.urdf": "0ce57a608a573206",
    },
    "custom/models": {
        "stone_tabletop.glb": "2a8189f844effd14",
    },
    "custom/models/7up_can": {
        "Image_0.001.jpg": "61a570c4941fbc30",
        "Image_1.001.jpg": "610dbfc2b9b5b01b",
        "Image_3.001.jpg": "da0cab125870fd29",
        "Pepsi1.001_baseColor.png": "4b875e041f92689d",
        "collision.obj": "387d32075c955a79",
        "textured.dae": "cd2a0c1594bc33ec",
    },
    "custom/models/apple": {
        "Image_0.001.png": "8fded635c56c3bfd",
        "collision.obj": "db44f58c4fc0c2ad",
        "textured.dae": "b27c52beef3723d2",
    },
    "custom/models/baked_apple": {
        "collision.obj": "db44f58c4fc0c2ad",
        "textured.glb": "41522f3956683c48",
    },
    "custom/models/baked_apple_v2": {
        "collision.obj": "db44f58c4fc0c2ad",
        "textured.glb": "3ed3fca9c718044d",
    },
    "custom/models/baked_blue_plastic_bottle_v2": {
        "collision.obj": "7121fa3f1f777505",
        "textured.glb": "03d40221be27c870",
    },
    "custom/models/baked_green_cube_3cm": {
        "collision.obj": "f00755873ca769f9",
        "textured.dae": "9293056fcbf1602d",
    },
    "custom/models/baked_opened_7up_can": {
        "collision.obj": "5b2ca79b74d5da84",
        "textured.glb": "e707b64427502840",
    },
    "custom/models/baked_opened_7up_can_v2": {
        "collision.obj": "387d32075c955a79",
        "textured.glb": "6276ded7b59c28f7",
    },
    "custom/models/baked_opened_coke_can": {
        "collision.obj": "78c377fd4d6003ec",
        "textured.glb": "12131e31222f92b4",
    },
    "custom/models/baked_opened_coke_can_v2": {
        "collision.obj": "78c377fd4d6003ec",
        "textured.glb": "b7c2f8ed10145b4d",
    },
    "custom/models/baked_opened_pepsi_can": {
        "collision.obj": "570bcdf9660820c9",
        "textured.glb": "c5817c795091611c",
    },
    "custom/models/baked_opened_pepsi_can_v2": {
        "collision.obj": "570bcdf9660820c9",
        "textured.glb": "0d45cfe66dead94d",
    },
    "custom/models/baked_opened_redbull_can": {
        "Image_0.005.png": "2c2c7b4d4af942b9",
        "Image_1.png": "59a5196ef3431f91",
        "Image_2.jpg": "a7b410412e01c3d6",
        "collision.obj": "6b33a4be04fd7482",
        "textured.dae": "c34602503ef5111b",
    },
    "custom/models/baked_opened_redbull_can_v2": {
        "Image_0.005.png": "2c2c7b4d4af942b9",
        "Image_1.png": "59a5196ef3431f91",
        "Image_2.jpg": "a7b410412e01c3d6",
        "collision.obj": "6b33a4be04fd7482",
        "textured.dae": "c34602503ef5111b",
    },
    "custom/models/baked_orange_v2": {
        "collision.obj": "c303f33b03cf1095",
        "textured.glb": "5fcd769ab396f847",
    },
    "custom/models/baked_sponge": {
        "collision.obj": "d7d62dfea9d2a992",
        "textured.glb": "cc46a3eb8c75b2f3",
    },
    "custom/models/baked_sponge_v2": {
        "collision.obj": "d7d62dfea9d2a992",
        "textured.glb": "a78bf6f53624740e",
    },
    "custom/models/baked_yellow_cube_3cm": {
        "collision.obj": "f00755873ca769f9",
        "textured.dae": "b93c9974670163c3",
    },
    "custom/models/blue_plastic_bottle": {
        "collision.obj": "21aa962483db0ec9",
        "jasmine_tea_3.jpg.002.jpg": "59ab2611b855d117",
        "textured.dae": "8084e739b16f5098",
    },
    "custom/models/bridge_carrot_generated_modified": {
        "Image_0.005.png": "6f729d20d832a9ff",
        "collision.obj": "12d7edf93b7b0be7",
        "textured.dae": "a339a1ec2b68e66b",
    },
    "custom/models/bridge_plate_objaverse_larger": {
        "collision.obj": "7d6a4afff544aa4e",
        "plate_texture.png": "443fbc32c5b9edaa",
        "textured.dae": "6cbbf62ad4b126be",
    },
    "custom/models/bridge_spoon_generated_modified": {
        "Image_0.003.jpg": "73d3ddb432161880",
        "collision.obj": "9df70b0ce074a63e",
        "textured.dae": "dc7fab65f7b877eb",
    },
    "custom/models/coke_can": {
        "Image_2.004.jpg": "8be0ae935ad21e70",
        "collision.obj": "78c377fd4d6003ec",
        "textured.dae": "96773c30f1b4ec8b",
    },
    "custom/models/dummy_sink_target_plane": {
        "collision.obj": "5306e00628e92f78",
        "textured.dae": "fefb8ec5ccc6a08f",
    },
    "custom/models/eggplant": {
        "Image_0.001.png": "55ec0f5131430bdf",
        "Image_0.png": "e847af42e46dc769",
        "collision.obj": "6425e361967ec8c5",
        "eggplanttexture.png": "43e1f1fc0e58487b",
        "eggtexture.png": "1c3b9dbd16e97c16",
        "eggtexturenew.png": "1c3b9dbd16e97c16",
        "textured.baked_texture.png": "52cb4a3b259c070c",
        "textured.dae": "ad841cda35d5bfab",
    },
    "custom/models/fanta_can": {
        "Image_0.001.jpg": "61a570c4941fbc30",
        "Image_1.001.jpg": "610dbfc2b9b5b01b",
        "Image_3.001.jpg": "da0cab125870fd29",
        "Image_6.001.jpg": "1a9343a2e834864e",
        "collision.obj": "d7beec75c1a89eab",
        "textured.dae": "8473e18f73fd3b5e",
    },
    "custom/models/green_cube_3cm": {
        "collision.obj": "f00755873ca769f9",
        "textured.dae": "020b5618a0bb16f7",
    },
    "custom/models/opened_7up_can": {
        "Image_0.001.jpg": "61a570c4941fbc30",
        "Image_1.001.jpg": "610dbfc2b9b5b01b",
        "Image_3.001.jpg": "244d39a6a8ddfca1",
        "Pepsi1.001_baseColor.png": "4b875e041f92689d",
        "collision.obj": "387d32075c955a79",
        "textured.dae": "305204516a2e1905",
    },
    "custom/models/opened_coke_can": {
        "Image_2.004.jpg": "8be0ae935ad21e70",
        "collision.obj": "78c377fd4d6003ec",
        "textured.dae": "96773c30f1b4ec8b",
    },
    "custom/models/opened_fanta_can": {
        "Image_0.001.jpg": "61a570c4941fbc30",
        "Image_1.001.jpg": "610dbfc2b9b5b01b",
        "Image_3.001.jpg": "65a00cd8e9df9f80",
        "Image_6.001.jpg": "1a9343a2e834864e",
        "collision.obj": "d7beec75c1a89eab",
        "textured.dae": "8473e18f73fd3b5e",
    },
    "custom/models/opened_pepsi_can": {
        "Image_0.jpg": "61a570c4941fbc30",
        "Image_0.png": "9d2e4555d5f97af6",
        "Image_1.jpg": "610dbfc2b9b5b01b",
        "Image_3.jpg": "65a00cd8e9df9f80",
        "collision.obj": "570bcdf9660820c9",
        "textured.dae": "ec63c1fd6b498494",
    },
    "custom/models/opened_redbull_can": {
        "Image_0.004.png": "faa3f2d1e2eae2aa",
        "Image_2.002.png": "49ce9ef9cf8a1640",
        "Image_3.002.jpg": "00002c2ac439e029",
        "collision.obj": "3bcb0c632460cf6a",
        "textured.dae": "7463c686c4df82ed",
    },
    "custom/models/opened_sprite_can": {
        "Image_0.jpg": "61a570c4941fbc30",
        "Image_1.jpg": "610dbfc2b9b5b01b",
        "Image_3.jpg": "65a00cd8e9df9f80",
        "collision.obj": "ee4fee1ad469ce94",
        "textured.dae": "0cd4fe5fe154d725",
    },
    "custom/models/orange": {
        "Image_2.png": "f0ccc1673164bd43",
        "collision.obj": "c303f33b03cf1095",
        "textured.dae": "43c67d2bfa834032",
    },
    "custom/models/pepsi_can": {
        "Image_0.jpg": "61a570c4941fbc30",
        "Image_0.png": "9d2e4555d5f97af6",
        "Image_1.jpg": "610dbfc2b9b5b01b",
        "Image_3.jpg": "da0cab125870fd29",
        "collision.obj": "570bcdf9660820c9",
        "textured.dae": "ec63c1fd6b498494",
    },
    "custom/models/redbull_can": {
        "Image_0.004.png": "faa3f2d1e2eae2aa",
        "Image_2.002.png": "49ce9ef9cf8a1640",
        "Image_3.002.jpg": "834a76cc1732ead9",
        "collision.obj": "3bcb0c632460cf6a",
        "textured.dae": "dd09980d05acaab9",
    },
    "custom/models/sink": {
        "collision.obj": "bea53a96f93259fe",
        "textured.dae": "d6680b4163c24d73",
    },
    "custom/models/sponge": {
        "Image_0.003.png": "6e0b0ff1025d8370",
        "collision.obj": "d7d62dfea9d2a992",
        "textured.dae": "34fb509d6c96642b",
    },
    "custom/models/sprite_can": {
        "Image_0.jpg": "61a570c4941fbc30",
        "Image_1.jpg": "610dbfc2b9b5b01b",
        "Image_3.jpg": "da0cab125870fd29",
        "collision.obj": "ee4fee1ad469ce94",
        "textured.dae": "0cd4fe5fe154d725",
    },
    "custom/models/table_cloth_generated_shorter": {
        "Image_0.001.jpg": "ce6297eeb793740f",
        "collision.obj": "729e924600953cac",
        "textured.dae": "019bc5e8811bed34",
    },
    "custom/models/yellow_cube_3cm": {
        "collision.obj": "f00755873ca769f9",
        "textured.dae": "9815423e826f6e05",
    },
    "hab2_bench_assets/stages": {
        "Baked_sc1_staging_objaverse_cabinet1_h870.glb": "a7be88852f799a5b",
        "Baked_sc1_staging_objaverse_cabinet2_h870.glb": "52a8d522c1d30268",
        "bridge_table_1_v1.glb": "0eb8c869fc5503c8",
        "bridge_table_1_v2.glb": "893b8a2f17f4b8ac",
        "frl_apartment_stage_simple.glb": "426d217f64ec4cac",
        "google_pick_coke_can_1_v4.glb": "002d9a550666a290",
        "google_pick_coke_can_1_v4_alt_background.glb": "ca7763842982d9e9",
        "google_pick_coke_can_1_v4_alt_background_2.glb": "29867b7d87a49ea7",
        "modern_bedroom_no_roof.glb": "83a08b80d9567521",
        "modern_office_no_roof.glb": "8d7deb7f9aceebb8",
    },
    "real_inpainting": {
        "bridge_real_eval_1.png": "217bb562a5d0813f",
        "bridge_sink.png": "ab304dd866d70216",
        "google_coke_can_real_eval_1.png": "24ec261a192f790d",
        "google_move_near_real_eval_1.png": "33fae6c55c655357",
        "open_drawer_a0.png": "92488f28f10da815",
        "open_drawer_a1.png": "4b372fb45e150706",
        "open_drawer_a2.png": "ee4c7e976adecd37",
        "open_drawer_b0.png": "ab25a3cd9d5b85d4",
        "open_drawer_b1.png": "f39bbf6a9da6a50a",
        "open_drawer_b2.png": "a23674e6ac8a3af5",
        "open_drawer_c0.png": "1962b94d37ac4300",
        "open_drawer_c1.png": "696850761bcd0020",
        "open_drawer_c2.png": "fd1e941fee0387aa",
    },
}
"""Folder → file → checksum."""
